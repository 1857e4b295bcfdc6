"""How fast a training is, and how much memory it takes."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from activessf.methods.distributed import num_processes


class Throughput(Callback):
    """Logs `pretrain/images_per_second` and `pretrain/memory_gib` in the steps in which a Trainer logs.

    Images a second are those since the last time it was logged, loading included; the first batch, which pays for
    starting up, and what is done while it is `paused` don't count.

    Args:
        clock: Gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._images = 0
        self._step = 0
        self._started: float | None = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that is not the training's."""
        before = self._clock()
        yield
        if self._started is not None:
            self._started += self._clock() - before

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Forget what an earlier stage of this process took of a GPU."""
        if module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(module.device)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images, and log when it is time."""
        if self._started is None:
            self._started = self._clock()
        else:
            self._images += len(batch[0]) * num_processes()
        step, every = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]  # set at run time
        # Lightning logs with the last of the batches that a step accumulates.
        stepped, self._step = step > self._step, step
        if not stepped or not every or step % every:
            return
        module.log("pretrain/memory_gib", peak_memory_gib(module.device))
        seconds = self._clock() - self._started
        if self._images and seconds > 0:
            module.log("pretrain/images_per_second", self._images / seconds)
        self._images, self._started = 0, self._clock()


def peak_memory_gib(device: torch.device) -> float:
    """The most memory so far, GiB: of a GPU what PyTorch has allocated, else all of this process (no loaders)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # bytes there, KiB elsewhere
