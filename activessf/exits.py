"""The exit statuses of our processes, and leaving with one of them after a mistake or when a signal says so."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import NoReturn, ParamSpec

from activessf.errors import InputError

MISTAKE_STATUS = 2  # of a process that has told its user what was wrong
INTERRUPTED_STATUS = 130  # 128 + SIGINT, as shells report it
TERMINATED_STATUS = 143  # 128 + SIGTERM
PREEMPTED_STATUS = 138  # 128 + SIGUSR1
STOPPED_STATUSES = (INTERRUPTED_STATUS, TERMINATED_STATUS, PREEMPTED_STATUS)

# Pre-empted, cancelled or out of time; and what a script lets SLURM send some time before (sbatch --signal=USR1@120).
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


_Arguments = ParamSpec("_Arguments")


def telling_mistakes(main: Callable[_Arguments, int]) -> Callable[_Arguments, int]:
    """Decorate a command's `main`, which returns an exit status, to tell a user's mistake in a sentence on stderr.

    For commands without Hydra; the scripts with it end by `activessf.cli`.
    """

    @wraps(main)
    def told(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> int:
        try:
            return main(*arguments, **options)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return MISTAKE_STATUS

    return told


def leave(number: int, frame: FrameType | None) -> NoReturn:
    """Signal handler that ends the process by an exception, with the status that shells and schedulers expect."""
    raise SystemExit(128 + number)


@contextmanager
def leaving_on_signals() -> Iterator[None]:
    """Make the signals leave the block by an exception, so that what was started in it is ended.

    A signal that someone waits for already stays with them, as with submitit, which outlives SIGTERM.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    ours = [number for number, handler in before.items() if handler in (signal.SIG_DFL, leave)]
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        ours = []
    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
