"""Stop a training whose numbers are none any more, and keep the batch that did it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from safetensors.torch import save_file
from torch import Tensor

from activessf.data.datasets import ImageFiles, training_batch
from activessf.errors import InputError
from activessf.manifests import replacing


@dataclass(frozen=True)
class _Done:
    """A batch that has been trained on, and its loss."""

    loss: Tensor
    batch: tuple[Tensor, Tensor]
    step: int
    epoch: int
    index: int


class FiniteLoss(Callback):
    """Stops a training whose loss is no number any more, instead of going on for days.

    The batch is kept as `<description>_step_<step>.safetensors`: the tensors `views` and `targets`, and as metadata
    `step`, `epoch`, `seed`, `loss` and `images`, a JSON list of their paths.

    Args:
        description: The stage, for the message and the file's name.
        images: What is trained on.
        folder: Where the batch is kept; made when it is needed.
    """

    def __init__(self, description: str, images: ImageFiles, folder: Path) -> None:
        self._description = description
        self._images = images
        self._folder = folder
        self._step = 0
        self._before: _Done | None = None

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note the step that the batch has a part in; others may have one, where gradients are accumulated."""
        self._step = trainer.global_step + 1

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss: on a GPU one batch late, so that nobody waits for it while there is work to queue."""
        done = _Done(outputs["loss"], batch, self._step, trainer.current_epoch, batch_idx)
        if self._before is not None:
            self._check(self._before)
        self._before = done if done.loss.is_cuda else None
        if self._before is None:
            self._check(done)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Look at the last loss, and at the weights that the last step has left."""
        if self._before is not None:
            self._check(self._before)
        wrong = [name for name, value in module.named_parameters() if not torch.isfinite(value).all()]
        if wrong:
            raise InputError(
                f"{self._description}: the last of {trainer.global_step} optimiser steps left weights that are no "
                f"numbers, such as {wrong[0]}; lower the recipe's base_lr."
            )

    def _check(self, done: _Done) -> None:
        if torch.isfinite(done.loss):
            return
        path = self._folder / f"{self._description.lower()}_step_{done.step:06d}.safetensors"
        self._keep(done, path)
        raise InputError(
            f"{self._description}: the loss is {done.loss.item()} at optimiser step {done.step}; lower the recipe's "
            f"base_lr, or train in 32-bit precision (trainer.precision=32-true). That batch is kept in {path}."
        )

    def _keep(self, done: _Done, path: Path) -> None:
        views, targets = (values.detach().cpu().contiguous() for values in done.batch)
        members = training_batch(self._images, len(views), done.epoch, done.index)
        metadata = {
            "step": str(done.step),
            "epoch": str(done.epoch),
            "seed": str(self._images.seed),
            "loss": str(done.loss.item()),
            "images": json.dumps([str(self._images.paths[member]) for member in members]),
        }
        with replacing(path) as temporary:
            save_file({"views": views, "targets": targets}, temporary, metadata)
