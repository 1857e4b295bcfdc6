"""Look at a method in the middle of its training, every so many steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger

from activessf.methods.method import SelfSupervisedMethod
from activessf.training.watching.untouched import untouched


class Seen(NamedTuple):
    """What a look has found, by the names that loggers are given.

    Attributes:
        numbers: Go to all loggers.
        pictures: uint8 RGB, (H, W, 3); go to the loggers that take images.
    """

    numbers: dict[str, float]
    pictures: dict[str, NDArray[np.uint8]]


class Look(Protocol):
    """Something to look at; it may write files."""

    def __call__(self, method: SelfSupervisedMethod, step: int) -> Seen:
        """Look.

        Args:
            method: In evaluation mode and without gradients; it is to be left as it is.
            step: Optimiser steps done.
        """
        ...


class Looking(Callback):
    """Looks before the first step, every so many optimiser steps, and after the last one.

    Args:
        looks: What is looked at, in this order.
        steps_between: Optimiser steps from look to look.
        total_steps: Optimiser steps of the training.
        paused: Entered while looking.
    """

    def __init__(
        self,
        looks: Sequence[Look],
        steps_between: int,
        total_steps: int,
        paused: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._looks = looks
        self._steps_between = steps_between
        self._total_steps = total_steps
        self._paused = paused
        self._last = -1

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Look at the untrained method: what is to be beaten."""
        self._look(trainer, module)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look, if it is time."""
        step = trainer.global_step
        if step % self._steps_between == 0 or step >= self._total_steps:
            self._look(trainer, module)

    def _look(self, trainer: Trainer, module: LightningModule) -> None:
        step = trainer.global_step
        if step == self._last:  # several batches may have been accumulated since
            return
        self._last = step
        assert isinstance(module, SelfSupervisedMethod)
        with self._paused(), untouched(module), trainer.precision_plugin.forward_context():
            seen = [look(module, step) for look in self._looks]
        for numbers, pictures in seen:
            for logger in trainer.loggers:
                if numbers:
                    logger.log_metrics(numbers, step)
                if isinstance(logger, WandbLogger):
                    for name, picture in pictures.items():
                        logger.log_image(name, [picture], step)
