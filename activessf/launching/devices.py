"""Devices of a node, leased: no two jobs have the same one, whichever sweeps they belong to.

A lease is a lock (`flock`) on a file of the node. The job's process holds it, too, since it inherits the open file: so
a device is free again when the last process of its job is gone, however it went, and not before.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from activessf.artifacts import readable
from activessf.launching.command import CORES

_HANDLES = "ACTIVESSF_LEASES"  # open files that a job passes on to its own processes


@dataclass(frozen=True)
class Pool:
    """Devices of one kind.

    Attributes:
        kind: gpu, or cpu: shares of the machine.
        names: What CUDA_VISIBLE_DEVICES calls them; shares are numbered.
        cores: Cores of the machine for each. On a share of it a process has as many threads; on a GPU they are left to
            PyTorch.
    """

    kind: str
    names: tuple[str, ...]
    cores: int = 1


@dataclass(frozen=True)
class Lease:
    """Some devices of a pool, held.

    Attributes:
        pool: Whose.
        names: Which.
        handles: The open files that hold them; a process that inherits them holds them, too.
    """

    pool: Pool
    names: tuple[str, ...]
    handles: tuple[int, ...]

    def environment(self) -> dict[str, str]:
        """What a process is told to keep to them."""
        said = {_HANDLES: ",".join(map(str, self.handles)), CORES: str(len(self.names) * self.pool.cores)}
        if self.pool.kind == "gpu":
            # By the numbers that all jobs of the node mean the same devices with.
            return said | {"CUDA_VISIBLE_DEVICES": ",".join(self.names), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        return said | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(self.pool.cores)}

    def let_go(self) -> None:
        """Close the files here; they are free once no job has them open."""
        for handle in self.handles:
            os.close(handle)


class Leases:
    """Leases of a pool's devices.

    Args:
        pool: The devices.
        folder: Where the lock files are; the same for all that share the devices. None = the node's.
    """

    def __init__(self, pool: Pool, folder: Path | None = None) -> None:
        self.pool = pool
        self.folder = folder or Path(tempfile.gettempdir()) / f"activessf-leases-{os.getuid()}"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def take(self, count: int) -> Lease | None:
        """So many devices that nobody has, or None if there aren't as many."""
        taken: list[tuple[str, int]] = []
        for name in self.pool.names:
            if len(taken) == count:
                break
            handle = self._locked(name)
            if handle is not None:
                taken.append((name, handle))
        names, handles = tuple(name for name, _ in taken), tuple(handle for _, handle in taken)
        lease = Lease(self.pool, names, handles)
        if len(taken) == count:
            return lease
        lease.let_go()
        return None

    def _locked(self, name: str) -> int | None:
        path = self.folder / f"{self.pool.kind}-{readable(name)}.lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle


def lease_handles(environment: Mapping[str, str] = os.environ) -> tuple[int, ...]:
    """The open files by which this process holds its devices, to be inherited by those that it starts."""
    said = environment.get(_HANDLES, "")
    return tuple(handle for handle in map(int, filter(None, said.split(","))) if _is_open(handle))


def gpu_names(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES calls them."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        # As CUDA reads it: what follows an empty or negative entry doesn't count.
        end = next((index for index, name in enumerate(names) if not name or name.startswith("-")), len(names))
        return tuple(names[:end])
    import torch  # takes a second

    return tuple(map(str, range(torch.cuda.device_count())))


def node_pool(accelerator: str, devices: Sequence[str | int] | None, shares: int | None) -> Pool:
    """The devices of this node.

    Args:
        accelerator: That of the trainer; cpu = shares of the machine even where there are GPUs.
        devices: Some of the GPUs; None = all that are visible.
        shares: Jobs side by side where there is no GPU; None = one a core: two jobs of one
            thread do more than one of two (1.5 times as much at `recipe=quick`).
    """
    names = tuple(map(str, devices)) if devices is not None else ()
    cores = _machine_cores()
    if accelerator != "cpu":
        names = names or gpu_names()
        if names:
            return Pool("gpu", names, max(1, cores // len(names)))
    shares = cores if shares is None else shares
    return Pool("cpu", tuple(map(str, range(shares))), max(1, cores // shares))


def own_cores(environment: Mapping[str, str] = os.environ) -> int:
    """Cores that this process may use: those of its lease, or of the machine."""
    return int(environment[CORES]) if CORES in environment else _machine_cores()


def _machine_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_open(handle: int) -> bool:
    try:
        os.fstat(handle)
    except OSError:
        return False
    return True
