"""Processes that are started together: ended together, and told to end when this one is."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SECONDS_BETWEEN_LOOKS = 0.1
_TERMINATED_STATUS = 143  # 128 + SIGTERM

Process = subprocess.Popen[bytes]


def end(processes: Sequence[Process], grace: float) -> None:
    """End those that still run: first kindly, and after so many seconds at once."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + grace
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def leaving_on_sigterm() -> Iterator[None]:
    """Make SIGTERM leave the block by an exception, so that what was started in it is ended."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(_TERMINATED_STATUS)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def shell_status(process: Process) -> int:
    """Exit status of a process that has ended, as shells say it: 128 + n of one that signal n has ended."""
    status = process.returncode
    return status if status >= 0 else 128 - status
