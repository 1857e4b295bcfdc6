"""Where the time of a training goes: computing, waiting for images, and what is done beside the steps."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

TIMING_FILE = "history/timing.json"


@dataclass
class Timing:
    """Seconds of a training, those before it was resumed left out.

    Attributes:
        steps: Optimiser steps that were timed: all but those with the first batch, which pays for starting up.
        starting: Until the first batch was there.
        computing: In steps: forward, backward, update. On a GPU as far as someone waits for it.
        waiting: Between steps: for images, their transfer, loggers.
        watching: Probes, checkpoints and other callbacks.
    """

    steps: int = 0
    starting: float = 0.0
    computing: float = 0.0
    waiting: float = 0.0
    watching: float = 0.0

    @property
    def seconds_per_step(self) -> float | None:
        """Computing and waiting; None if no step was timed."""
        return (self.computing + self.waiting) / self.steps if self.steps else None

    def __str__(self) -> str:
        """The shares, in words."""
        total = self.computing + self.waiting + self.watching
        if not self.steps or total <= 0:
            return "too short to be timed"
        return (
            f"{self.seconds_per_step:.3g} s a step; {self.computing / total:.0%} computing, {self.waiting / total:.0%} "
            f"waiting for images, {self.watching / total:.0%} probes and checkpoints"
        )


class StepClock:
    """Fills a `Timing` by two callbacks, of which `first` is to come before all others and `last` after them.

    Args:
        clock: Gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.timing = Timing()
        self.clock = clock
        self.mark = 0.0
        self.batches = 0
        self.begun_at = 0  # the optimiser steps before the first that is timed
        self.first: Callback = _First(self)
        self.last: Callback = _Last(self)

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self.mark = self.mark, self.clock()
        return self.mark - before


class _First(Callback):
    def __init__(self, clock: StepClock) -> None:
        self._of = clock

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._of.lap()

    def on_train_batch_start(self, *_: Any) -> None:
        seconds, timing = self._of.lap(), self._of.timing
        if self._of.batches:
            timing.waiting += seconds
        else:
            timing.starting = seconds

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        seconds = self._of.lap()
        self._of.batches += 1
        if self._of.batches == 1:
            self._of.begun_at = trainer.global_step
            self._of.timing.starting += seconds
        else:
            self._of.timing.computing += seconds
            self._of.timing.steps = trainer.global_step - self._of.begun_at


class _Last(Callback):
    def __init__(self, clock: StepClock) -> None:
        self._of = clock

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._of.timing.watching += self._of.lap()

    def on_train_batch_end(self, *_: Any) -> None:
        self._of.timing.watching += self._of.lap()


def device_name(device: torch.device, number: int = 1) -> str:
    """What a training runs on, in words that are the same for equal hardware."""
    several = f"{number} x " if number > 1 else ""
    if device.type == "cuda":
        return several + torch.cuda.get_device_name(device)
    return f"{several}{_processor()}, {torch.get_num_threads()} thread(s)"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
