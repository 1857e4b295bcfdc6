"""Commands that are killed: started in a session of their own, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO


def started(
    command: Sequence[str], temporary: Path, own: Mapping[str, str] | None = None, console: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """A command in a session of its own, with a folder of its own for temporary files.

    Args:
        command: The command.
        temporary: The folder; made if it is not there.
        own: Environment variables of the command.
        console: Where its output goes; None = a pipe, which must be read before it is full.
    """
    temporary.mkdir(exist_ok=True, parents=True)
    return subprocess.Popen(
        command,
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE if console is None else console,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", **(own or {})},
    )


def members(session: int) -> list[int]:
    """Processes of a session that are alive."""
    return sorted(_states(session))


def stop(session: int) -> None:
    """Stop all processes of a session where they are; returns when none of them moves any more."""
    with suppress(ProcessLookupError):
        os.killpg(session, signal.SIGSTOP)
    while set(_states(session).values()) - {"T"}:
        time.sleep(0.0005)


def _states(session: int) -> dict[int, str]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, *numbers = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(numbers[2]) == session and state != "Z":
            found[int(path.parent.name)] = state.strip()
    return found


def outliving(session: int, seconds: float) -> list[int]:
    """Processes of a session that are still there after that time."""
    deadline = time.monotonic() + seconds
    while (alive := members(session)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return alive
