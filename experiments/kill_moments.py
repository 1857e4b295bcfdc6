"""Moments at which a sweep is killed, found by watching its output folder; nothing in the sweep knows of it.

Whoever watches a folder is late: what was seen may be over when the signal arrives. So all processes are stopped first
(SIGSTOP), and only if the moment still holds then has it come; otherwise they go on, and the next one is waited for.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from killing import members, stop

from activessf.artifacts.inventory import LEASE_SUFFIX
from activessf.artifacts.results import INPUTS_FILE, PARTIAL

if TYPE_CHECKING:
    from kill_train import Process

MOMENTS = ("any", "checkpoint", "publishing")
_OFTEN = 6  # the latest of such moments that is waited for
_SECONDS_BETWEEN_LOOKS = 0.002


def come(
    moment: str, output: Path, process: Process, with_child: bool, seconds: float, rng: np.random.Generator
) -> bool:
    """Wait for a moment; False if the sweep ends before.

    Args:
        moment: One of `MOMENTS`. But for `any`, all processes are stopped when this returns.
        output: The sweep's folder.
        process: The sweep.
        with_child: Of `any`: whether it must have a child just then.
        seconds: What an undisturbed sweep takes.
        rng: Draws the moment.
    """
    if moment == "any":
        return _any(process, with_child, rng.uniform(0.05, 0.5) * seconds)
    times, seen = int(rng.integers(1, _OFTEN + 1)), under_way(moment, output)  # what an earlier kill has left
    while process.poll() is None:
        if new := under_way(moment, output) - seen:
            times -= 1
            if times <= 0 and _stopped_in(moment, output, process, new):
                return True
            seen |= new
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return False


def under_way(moment: str, output: Path) -> set[Path]:
    """What shows in a sweep's folder that a checkpoint is being written, or a result published."""
    if moment == "checkpoint":
        return set(output.glob("checkpoints/*/.*.ckpt"))
    found: set[Path] = set()
    for kind in ("stages", "runs"):
        # Filled, and about to be renamed; or renamed, and the lease not yet given back.
        found |= set(output.glob(f"{kind}/*/.*{PARTIAL}*/{INPUTS_FILE}"))
        leases = output.glob(f"{kind}/*/.*{LEASE_SUFFIX}")
        found |= {path for path in leases if path.with_name(path.name[1:].removesuffix(LEASE_SUFFIX)).is_dir()}
    return found


def _any(process: Process, with_child: bool, seconds: float) -> bool:
    due = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() >= due and (not with_child or len(members(process.pid)) > 1):
            return True
        time.sleep(0.01)
    return False


def _stopped_in(moment: str, output: Path, process: Process, seen: set[Path]) -> bool:
    stop(process.pid)
    if process.poll() is None and seen & under_way(moment, output):
        return True
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)
    return False
