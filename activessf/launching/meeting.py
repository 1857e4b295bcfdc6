"""Where the processes of one training meet before, between and after their trainings.

What they tell one another here is short and takes as long as it must: while one process searches slides for hours, the
others look in now and then. Gradients and the like go through `torch.distributed` itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from activessf.launching.processes import SECONDS_BETWEEN_LOOKS
from activessf.launching.ranks import own_rank, say_as_torchrun

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

T = TypeVar("T")


class _Meeting:
    """A store that all processes of the training read and write, and how many questions have been asked."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.questions = 0


_now: _Meeting | None = None


@contextmanager
def meeting() -> Iterator[None]:
    """Meet the other processes of this training, if there are any; all of them must come."""
    global _now
    if own_rank().count == 1:
        yield
        return
    from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]  # given on from elsewhere

    say_as_torchrun()
    store, _, _ = next(iter(rendezvous("env://")))
    _now = _Meeting(PrefixStore("activessf", store))
    try:
        yield
    finally:
        _now = None


def waits() -> bool:
    """Whether this process leaves to process 0 what needs only one."""
    return _now is not None and own_rank().index > 0


def agreed(decide: Callable[[], T]) -> T:
    """What process 0 decides, told to all; every process must ask the same questions in the same order.

    Args:
        decide: Gives a JSON value; called in process 0 alone.

    Raises:
        RuntimeError: Process 0 has ended before it said so.
    """
    if _now is None:
        return decide()
    _now.questions += 1
    key = f"answer {_now.questions}"
    if not waits():
        answer = decide()
        _now.store.set(key, json.dumps(answer))
        return answer
    store = _now.store
    wait_until(lambda: store.check([key]))
    told: T = json.loads(store.get(key))
    return told


def wait_until(done: Callable[[], bool]) -> None:
    """Look in until something is done that process 0 does.

    Raises:
        RuntimeError: Process 0 has ended before.
    """
    assert _now is not None
    while not done():
        _now.store.check(["anything"])  # fails once the process that keeps the store, 0 or its parent, is gone
        time.sleep(SECONDS_BETWEEN_LOOKS)
