"""Processes that are started together: ended together, and how each has ended."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

SECONDS_BETWEEN_LOOKS = 0.1

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


def shell_status(process: Process) -> int:
    """Exit status of a process that has ended, as shells say it: 128 + n of one that signal n has ended."""
    status = process.returncode
    return status if status >= 0 else 128 - status
