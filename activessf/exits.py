"""The exit statuses of our processes, and leaving on SIGTERM with one of them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

MISTAKE_STATUS = 2  # of a process that has told its user what was wrong
INTERRUPTED_STATUS = 130  # 128 + SIGINT, as shells report it
TERMINATED_STATUS = 143  # 128 + SIGTERM


def leave(number: int, frame: FrameType | None) -> NoReturn:
    """Signal handler that ends the process by an exception."""
    raise SystemExit(TERMINATED_STATUS)


@contextmanager
def leaving_on_sigterm() -> Iterator[None]:
    """Make SIGTERM leave the block by an exception, so that what was started in it is ended."""
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
