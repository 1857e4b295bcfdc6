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
from torch.utils.data import DataLoader

from activessf.data.datasets import EpochSampler, ImageFiles, Loader, batch_items
from activessf.errors import InputError
from activessf.manifests import replacing
from activessf.methods.distributed import gathered, process_rank


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
        folder: Where the batch is kept; made when it is needed.
    """

    def __init__(self, description: str, folder: Path) -> None:
        self._description = description
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
        loader = trainer.train_dataloader
        assert isinstance(loader, DataLoader) and isinstance(loader.sampler, EpochSampler)
        done = _Done(outputs["loss"], batch, self._step, loader.sampler.current, batch_idx)
        if self._before is not None:
            self._check(self._before, loader, trainer.precision)
        self._before = done if done.loss.is_cuda else None
        if self._before is None:
            self._check(done, loader, trainer.precision)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Look at the last loss, and at the weights that the last step has left."""
        loader = trainer.train_dataloader
        if self._before is not None and isinstance(loader, DataLoader):
            self._check(self._before, loader, trainer.precision)
        wrong = [name for name, value in module.named_parameters() if not torch.isfinite(value).all()]
        if wrong:
            raise InputError(
                f"{self._description}: the last of {trainer.global_step} optimiser steps left weights that are no "
                f"numbers, such as {wrong[0]}; lower the recipe's base_lr."
            )

    def _check(self, done: _Done, loader: Loader, precision: str) -> None:
        losses = gathered(done.loss.reshape(1, 1)).flatten()  # of all processes
        wrong = (~torch.isfinite(losses)).nonzero().flatten().tolist()
        if not wrong:
            return
        path = self._folder / f"{self._description.lower()}_step_{done.step:06d}.safetensors"
        if process_rank() == wrong[0]:
            _keep(done, loader, path)
        gathered(losses[:1, None])  # none leaves, which would end the others, before the batch is kept
        loss, cure = losses[wrong[0]].item(), "lower the recipe's base_lr"
        if precision not in ("32-true", "64-true"):
            cure += ", or train in 32-bit precision (trainer.precision=32-true)"
        raise InputError(
            f"{self._description}: the loss is {loss} at optimiser step {done.step}; {cure}. That batch is kept in "
            f"{path}."
        )


def _keep(done: _Done, loader: Loader, path: Path) -> None:
    images = loader.dataset
    assert isinstance(images, ImageFiles)
    metadata = {
        "step": str(done.step),
        "epoch": str(done.epoch),
        "seed": str(images.seed),
        "loss": str(done.loss.item()),
        "images": json.dumps(
            [str(images.paths[index]) for _, index, *_ in batch_items(loader, done.epoch, done.index)]
        ),
    }
    views, targets = (values.detach().cpu().contiguous() for values in done.batch)
    with replacing(path) as temporary:
        save_file({"views": views, "targets": targets}, temporary, metadata)
