"""Go on with a training that was stopped: where it was, with the numbers that it would have had.

A checkpoint holds weights, optimiser, schedule, the place in the data and the state of the random numbers. The order of
images, their views and the workers' share in them are functions of seed, epoch and index (see `data.datasets`), so on a
CPU a training that was killed at any moment ends with the same bits as one that was not.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pytorch_lightning import Callback, LightningDataModule, Trainer
from pytorch_lightning.loggers import CSVLogger

from activessf.data.datasets import ImageFiles, Loader, training_loader
from activessf.manifests import replacing, write_table

_KEPT = 2
_SUFFIX, _HISTORY = ".ckpt", ".csv"


class Checkpoints:
    """The checkpoints of one training: the newest two, by optimiser step.

    Args:
        folder: Where they are; made when the first is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def newest(self) -> Path | None:
        """The newest checkpoint that can be read; None where there is none. Of a damaged one a warning tells."""
        for path in sorted(self.folder.glob(f"*{_SUFFIX}"), reverse=True):
            try:
                torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # torch raises a zoo of types for a damaged file
                warnings.warn(
                    f"The checkpoint {path} is damaged ({type(error).__name__}) and left out.",
                    stacklevel=2,
                )
                continue
            return path
        return None

    def save(self, trainer: Trainer, history: Path) -> None:
        """Save the state of a training, and its history so far; whole or not at all. Older ones are removed."""
        path = self.folder / f"{trainer.global_step:010d}{_SUFFIX}"
        if history.is_file():
            with replacing(path.with_suffix(_HISTORY)) as temporary:
                temporary.write_bytes(history.read_bytes())
        with replacing(path) as temporary:
            trainer.save_checkpoint(temporary)
        for old in sorted(self.folder.glob(f"*{_SUFFIX}"))[:-_KEPT]:
            old.unlink(missing_ok=True)
            old.with_suffix(_HISTORY).unlink(missing_ok=True)

    def complete_history(self, resumed: Path | None, history: Path) -> None:
        """Put what was logged before a training was resumed in front of what was logged after."""
        before = None if resumed is None else resumed.with_suffix(_HISTORY)
        if before is None or not before.is_file():
            return
        parts = [pd.read_csv(part) for part in (before, history) if part.is_file()]
        write_table(pd.concat(parts, ignore_index=True), history)

    def clear(self) -> None:
        """Remove them, once the training has ended."""
        for path in self.folder.glob("*"):
            path.unlink(missing_ok=True)
        if self.folder.is_dir():
            os.rmdir(self.folder)


class SaveCheckpoints(Callback):
    """Saves a checkpoint now and then, and brings back the random numbers of one that is resumed.

    Args:
        checkpoints: Where to.
        minutes: Least time between two.
        history: The CSV logger whose file is kept with each.
    """

    def __init__(self, checkpoints: Checkpoints, minutes: float, history: CSVLogger) -> None:
        self._checkpoints = checkpoints
        self._seconds = 60 * minutes
        self._history = history
        self._saved_at = time.monotonic()
        self._saved_step = 0
        self._random: Mapping[str, Any] | None = None

    def on_train_batch_start(self, *_: Any) -> None:
        """Bring back the random numbers, before the first step that draws any."""
        if self._random is not None:
            torch.set_rng_state(self._random["cpu"].cpu())
            if torch.cuda.is_available() and self._random["cuda"]:
                torch.cuda.set_rng_state_all([state.cpu() for state in self._random["cuda"]])
            self._random = None

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Save, if it is time and the gradients of no batch are waiting for others."""
        due = time.monotonic() - self._saved_at >= self._seconds
        if due and trainer.global_step > self._saved_step and trainer.global_step < trainer.max_steps:
            self._history.save()
            self._checkpoints.save(trainer, Path(self._history.log_dir) / "metrics.csv")
            self._saved_at, self._saved_step = time.monotonic(), trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        """The state of the random numbers that masks and dropout draw from."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"cpu": torch.get_rng_state(), "cuda": cuda}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until the first batch."""
        self._random = state_dict


class TrainingData(LightningDataModule):
    """Batches of images, from where a training was.

    Args:
        images: The images.
        batch_size: Images a batch.
        num_workers: Loader processes.
    """

    def __init__(self, images: ImageFiles, batch_size: int, num_workers: int) -> None:
        super().__init__()
        self._images = images
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._done = 0

    def train_dataloader(self) -> Loader:
        """The rest of the epoch that was begun, then whole ones."""
        return training_loader(self._images, self._batch_size, self._num_workers, self._done)

    def state_dict(self) -> dict[str, Any]:
        """How many batches have been used."""
        assert isinstance(self.trainer, Trainer)
        return {"batches": self.trainer.fit_loop.epoch_loop.batch_progress.total.ready}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after them."""
        self._done = int(state_dict["batches"])
