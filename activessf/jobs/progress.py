"""What this process is doing: stages tell it here, and a job's heartbeat writes it down for those who watch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Progress:
    """Where a process stands.

    Attributes:
        doing: The result that is being made, `stage/name`; "" between results.
        activity: What the steps are of, such as Pretraining; "" where there are none.
        epoch: From 0.
        step: Steps done.
        total: Steps of the whole activity.
        loss: Of the last step; None if it is not known.
        seconds_per_step: Mean since the activity began or was resumed; None before the second step.
    """

    doing: str = ""
    activity: str = ""
    epoch: int = 0
    step: int = 0
    total: int = 0
    loss: float | None = None
    seconds_per_step: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """Of the activity, if the steps to come take as long as those before."""
        return None if self.seconds_per_step is None else self.seconds_per_step * (self.total - self.step)


_now = Progress()
_first: tuple[str, int, float] | None = None  # activity, its first step that was told of, when that was


def progress() -> Progress:
    """Where this process stands."""
    return _now


@contextmanager
def doing(what: str) -> Iterator[None]:
    """For as long as a result is made, on the way to which others may be."""
    global _now
    before = _now
    _now = Progress(what)
    try:
        yield
    finally:
        _now = before


def tell_step(activity: str, epoch: int, step: int, total: int, loss: float | None) -> None:
    """Tell that a step is done."""
    global _now, _first
    moment = time.monotonic()
    if _first is None or _first[0] != activity or step < _first[1] or not _now.activity:
        _first = (activity, step, moment)
    done = step - _first[1]
    rate = (moment - _first[2]) / done if done else None
    _now = replace(
        _now, activity=activity, epoch=epoch, step=step, total=total, loss=loss, seconds_per_step=rate
    )  # fmt: skip


def tell_end() -> None:
    """Tell that the activity is over."""
    global _now
    _now = Progress(_now.doing)
