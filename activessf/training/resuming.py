"""Go on with a training that was stopped: where it was, with the numbers that it would have had.

A checkpoint holds weights, optimiser, schedule, the place in the data and the state of the random numbers. The order of
images, their views and the workers' share in them are functions of seed, epoch and index (see `data.datasets`), so on a
CPU a training that was killed at any moment ends with the same bits as one that was not; so does one of several
processes, which all have a part in a checkpoint and find their own random numbers in it.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from activessf.data.datasets import ImageFiles, Loader, Share, training_loader
from activessf.manifests import replacing, write_table
from activessf.methods.distributed import gathered, process_rank, said_by_first

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
        for path in reversed(self._saved(_SUFFIX)):
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

    def save(self, trainer: Trainer) -> None:
        """Save the state of a training, whole or not at all. Older ones are removed."""
        path = self._path(trainer.global_step, _SUFFIX)
        if process_rank():
            trainer.save_checkpoint(path)  # has a part in it and writes nothing
            return
        with replacing(path) as temporary:
            trainer.save_checkpoint(temporary)
        self._remove_old(_SUFFIX)

    def save_history(self, step: int, history: pd.DataFrame) -> None:
        """Keep what has been logged up to the checkpoint of a step; nothing, before anything has been."""
        if history.empty:
            return
        write_table(history, self._path(step, _HISTORY))
        self._remove_old(_HISTORY)

    def history(self, resumed: Path | None) -> pd.DataFrame:
        """What had been logged when a checkpoint was saved; but for its last row, if the training ended at once."""
        if resumed is None:
            return pd.DataFrame()
        before = [path for path in self._saved(_HISTORY) if path.stem <= resumed.stem]
        return pd.read_csv(before[-1]) if before else pd.DataFrame()

    def clear(self) -> None:
        """Remove them, once nobody needs them any more: what the training gave is published."""
        for path in self.folder.glob("*"):
            path.unlink(missing_ok=True)
        if self.folder.is_dir():
            os.rmdir(self.folder)

    def _path(self, step: int, suffix: str) -> Path:
        return self.folder / f"{step:010d}{suffix}"

    def _saved(self, suffix: str) -> list[Path]:
        """Whole files, oldest first; what a process was writing when it was killed begins with a dot."""
        return sorted(self.folder.glob(f"[0-9]*{suffix}"))

    def _remove_old(self, suffix: str) -> None:
        for old in (*self._saved(suffix)[:-_KEPT], *self.folder.glob(f".*{suffix}")):
            old.unlink(missing_ok=True)


class SaveCheckpoints(Callback):
    """Saves a checkpoint now and then, and brings back the random numbers of one that is resumed.

    Args:
        checkpoints: Where to.
        minutes: Least time between two.
        logger: Logs the history that is kept with each.
        before: What was logged before the training was resumed.
    """

    def __init__(self, checkpoints: Checkpoints, minutes: float, logger: CSVLogger, before: pd.DataFrame) -> None:
        self._checkpoints = checkpoints
        self._seconds = 60 * minutes
        self._logger = logger
        self._before = before
        self._saved_at = time.monotonic()
        self._saved_step = 0
        self._step_before = 0  # this batch
        self._unlogged = False
        self._device = torch.device("cpu")
        self._random: Mapping[str, Any] | None = None

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Bring back the random numbers, before the first step that draws any; keep what the last step has logged."""
        if self._unlogged and not process_rank():  # a step's numbers are logged after its end
            self._checkpoints.save_history(self._saved_step, joined(self._before, self._logger))
            self._unlogged = False
        if self._random is not None:
            _set_random(self._random)
            self._random = None
        self._step_before = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Save, if it is time and the gradients of no batch are waiting for others."""
        self._device = module.device
        if math.isinf(self._seconds) or not self.step_is_whole(trainer):
            return
        if said_by_first(time.monotonic() - self._saved_at >= self._seconds, self._device):
            self.save(trainer)

    def step_is_whole(self, trainer: Trainer) -> bool:
        """Whether an optimiser step has ended with this batch."""
        return trainer.global_step > self._step_before

    def save(self, trainer: Trainer) -> None:
        """Save at the end of a step, due or not; nothing twice, nothing that is over, nothing if none are kept."""
        step = trainer.global_step
        if step > self._saved_step and step < trainer.max_steps and not math.isinf(self._seconds):
            self._checkpoints.save(trainer)
            self._saved_at, self._saved_step, self._unlogged = time.monotonic(), step, True

    def state_dict(self) -> dict[str, Any]:
        """The state of the random numbers that masks and dropout draw from, a row a process."""
        return {
            "cpu": gathered(torch.get_rng_state()[None].to(self._device)).cpu(),
            "cuda": gathered(torch.cuda.get_rng_state(self._device)[None].to(self._device)).cpu()
            if self._device.type == "cuda"
            else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until the first batch."""
        self._random = state_dict


def _set_random(states: Mapping[str, Any]) -> None:
    """Go on with this process's random numbers; one that was not there before keeps those that it has."""
    for rows, go_on in ((states["cpu"], torch.set_rng_state), (states["cuda"], torch.cuda.set_rng_state)):
        if rows is not None and process_rank() < len(rows):
            go_on(rows[process_rank()].cpu().clone())  # a view is read from where its storage begins


def joined(before: pd.DataFrame, logger: CSVLogger) -> pd.DataFrame:
    """What was logged before a training was resumed, and since."""
    logger.save()
    path = Path(logger.log_dir) / ExperimentWriter.NAME_METRICS_FILE
    return pd.concat([before, pd.read_csv(path)], ignore_index=True) if path.is_file() else before


class TrainingData(LightningDataModule):
    """Batches of images, from where a training was.

    Args:
        images: The images.
        batch_size: Images a batch, of all processes.
        num_workers: Loader processes.
        share: This process's part of every batch; None = all of it.
    """

    def __init__(self, images: ImageFiles, batch_size: int, num_workers: int, share: Share | None = None) -> None:
        super().__init__()
        self._images = images
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._share = share
        self._done = 0

    def train_dataloader(self) -> Loader:
        """The rest of the epoch that was begun, then whole ones."""
        return training_loader(self._images, self._batch_size, self._num_workers, self._done, self._share)

    def state_dict(self) -> dict[str, Any]:
        """How many batches have been used."""
        assert isinstance(self.trainer, Trainer)
        return {"batches": self.trainer.fit_loop.epoch_loop.batch_progress.total.ready}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after them."""
        self._done = int(state_dict["batches"])
