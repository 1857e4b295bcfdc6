"""Keep a job's `status.json` up to date while it runs, and say in it how the job ended."""

from __future__ import annotations

import logging
import os
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from activessf.jobs.progress import progress
from activessf.jobs.record import FINISHED, RUNNING, STATUS_FILE
from activessf.manifests import write_json
from activessf.owners import host, new_owner

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
_LOG_LINES = 10
_TAIL_BYTES = 1 << 14


class Heartbeat:
    """Writes `status.json` of a job at its begin, every few seconds, and at its end.

    Args:
        folder: The job's folder.
        number: The job's place in the sweep; None outside a sweep.
        overrides: The job's overrides.
        log_file: The job's log, whose last lines are kept with a failure.
        seconds: Between two writings.
    """

    def __init__(
        self,
        folder: Path,
        number: int | None,
        overrides: Sequence[str],
        log_file: Path,
        seconds: float = BEAT_SECONDS,
    ) -> None:
        self._path = folder / STATUS_FILE
        self._log_file = log_file
        self._about = {
            "job": number, "overrides": list(overrides), "owner": new_owner().token, "host": host(), "pid": os.getpid(),
            "log_file": str(log_file), "started": _now(),
        }  # fmt: skip
        self._seconds = seconds
        self._started = time.monotonic()
        self._cpu = _cpu_seconds(), self._started
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def start(self) -> None:
        """Say that the job runs, from now on."""
        self._write(RUNNING)
        self._thread.start()

    def end(self, state: str = FINISHED, **facts: Any) -> None:
        """Say how the job ended.

        Args:
            state: See `record`.
            **facts: What else is to be known of it: result, error, mistake, plan.
        """
        self._ended.set()
        self._thread.join(self._seconds)
        if state != FINISHED:
            facts["log"] = tail(self._log_file, _LOG_LINES)
        self._write(state, ended=_now(), **facts)

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds):
            self._write(RUNNING)

    def _write(self, state: str, **facts: Any) -> None:
        now, cpu = time.monotonic(), _cpu_seconds()
        share = (cpu - self._cpu[0]) / max(now - self._cpu[1], 1e-9)
        self._cpu = cpu, now
        there = progress()
        loss = there.loss if there.loss is not None and abs(there.loss) < float("inf") else None  # no NaN in JSON
        said = {
            "state": state, **self._about, "seconds": now - self._started, **asdict(there), "loss": loss,
            "cores": round(share, 2), "memory_gib": _memory_gib(), **_gpu(), **facts,
        }  # fmt: skip
        try:
            write_json(said, self._path)
        except OSError as error:  # a full disk is the job's to complain of
            log.debug("%s could not be written: %s", self._path, error)


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a text file, at most so many; none where there is no file."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return list(deque(file.read().decode("utf-8", "replace").splitlines(), lines))
    return []


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _cpu_seconds() -> float:
    """Processor time of this process, and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _memory_gib() -> float:
    """What the process holds now; the most so far where the system doesn't tell."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def _gpu() -> dict[str, Any]:
    """Name and memory of the GPU, if a stage uses one: nothing is started to look."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    device = torch.cuda.current_device()
    used = torch.cuda.memory_reserved(device)
    return {"gpu": torch.cuda.get_device_name(device), "gpu_gib": used / 2**30}
