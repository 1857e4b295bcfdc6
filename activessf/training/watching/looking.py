"""Look at a method in the middle of its training, every so many steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger

from activessf.manifests import replacing, write_table
from activessf.methods.distributed import alone, process_rank
from activessf.methods.method import SelfSupervisedMethod
from activessf.regions.quality.drawing import write_picture
from activessf.training.watching.untouched import untouched

PROBE_FILE = "probe.csv"


class Seen(NamedTuple):
    """What a look has found.

    Attributes:
        numbers: By name; loggers are given them as `probe/<name>`.
        pictures: uint8 RGB, (H, W, 3), by name; kept as `<name>/step_XXXXXX.png`, and given to loggers that take images
            as `pretrain/<name>`.
    """

    numbers: dict[str, float]
    pictures: dict[str, NDArray[np.uint8]]


class Look(Protocol):
    """Something to look at."""

    def __call__(self, method: SelfSupervisedMethod, step: int) -> Seen:
        """Look.

        Args:
            method: In evaluation mode and without gradients; it is to be left as it is.
            step: Optimiser steps done.
        """
        ...


class Looking(Callback):
    """Looks before the first step, every so many optimiser steps, and after the last one; in process 0 alone.

    Args:
        looks: What is looked at, in this order.
        steps_between: Optimiser steps from look to look.
        total_steps: Optimiser steps of the training.
        paused: Entered while looking.
        folder: Where pictures are kept, and `probe.csv`, the numbers, a row a look.
    """

    def __init__(
        self,
        looks: Sequence[Look],
        steps_between: int,
        total_steps: int,
        paused: Callable[[], AbstractContextManager[None]],
        folder: Path,
    ) -> None:
        self._looks = looks
        self._steps_between = steps_between
        self._total_steps = total_steps
        self._paused = paused
        self._folder = folder
        self._kept: list[str] = []
        self._rows: list[dict[str, float]] = []
        self._last = -1

    def state_dict(self) -> dict[str, Any]:
        """What was found so far: a training that is resumed has a new folder, and the old one may be gone."""
        files = {name: (self._folder / name).read_bytes() for name in self._kept}
        pictures = {name: torch.frombuffer(bytearray(content), dtype=torch.uint8) for name, content in files.items()}
        return {"last": self._last, "rows": self._rows, "pictures": pictures}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after what was found before."""
        self._last, self._rows = state_dict["last"], state_dict["rows"]
        for name, content in state_dict["pictures"].items():
            self._kept.append(name)
            with replacing(self._folder / name) as temporary:
                temporary.write_bytes(content.numpy().tobytes())

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Look at the untrained method: what is to be beaten."""
        if trainer.global_step == 0:
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
        if process_rank():
            return
        assert isinstance(module, SelfSupervisedMethod)
        with self._paused(), alone(), untouched(module), trainer.precision_plugin.forward_context():
            seen = [look(module, step) for look in self._looks]
        numbers = {name: value for found in seen for name, value in found.numbers.items()}
        pictures = {name: picture for found in seen for name, picture in found.pictures.items()}
        if numbers:
            self._rows.append({"step": step, **numbers})
            write_table(pd.DataFrame(self._rows), self._folder / PROBE_FILE)
        for name, picture in pictures.items():
            self._kept.append(f"{name}/step_{step:06d}.png")
            write_picture(picture, self._folder / self._kept[-1])
        for logger in trainer.loggers:
            if numbers:
                logger.log_metrics({f"probe/{name}": value for name, value in numbers.items()}, step)
            if isinstance(logger, WandbLogger):
                for name, picture in pictures.items():
                    logger.log_image(f"pretrain/{name}", [picture], step)
