"""What stages 3 and 4 are both made of: from the configuration to named values."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from omegaconf import DictConfig

from activessf.artifacts import Artifact
from activessf.configuration import build, plain, without
from activessf.data.datasets import ImageFiles, View
from activessf.errors import InputError
from activessf.launching.meeting import waits
from activessf.launching.ranks import own_rank
from activessf.preparation import Preparation
from activessf.training.optimization import Optimization, scaled_lr
from activessf.training.resuming import Checkpoints
from activessf.training.running import Runner, batch_at_a_time, num_steps, num_warmup_steps

log = logging.getLogger(__name__)

_NO_PART_OF_TRAINER = ("accelerator", "devices", "strategy", "enable_model_summary", "log_every_n_steps")


def make_backbone(config: DictConfig) -> Any:
    """What makes the network when it is called with `num_classes`."""
    return build(without(config.backbone, "name", "checkpoint"))


def trainer_settings(config: DictConfig) -> dict[str, Any]:
    """What of the Trainer has a part in a training's result."""
    return without(config.trainer, *_NO_PART_OF_TRAINER)


class Batch(NamedTuple):
    """The images that are trained on at a time.

    Attributes:
        images: Of each process.
        processes: Those that train together.
    """

    images: int
    processes: int


def check_training(config: DictConfig, stage: str) -> Batch:
    """Refuse the numbers of a training that don't go together, before anything long runs; returns its batches.

    Args:
        config: The whole configuration.
        stage: `pretraining` or `finetuning`.

    Raises:
        InputError: The batch can't be divided, or the learning rate would rise at the end.
    """
    recipe, processes = config.recipe[stage], _num_processes(config.trainer)
    peak = scaled_lr(recipe.base_lr, recipe.batch_size)
    if recipe.min_lr > peak:
        raise InputError(
            f"recipe.{stage}.min_lr={recipe.min_lr}, the learning rate at the end, lies above the peak of {peak:g} "
            "(base_lr x batch_size / 256); lower it."
        )
    together = batch_at_a_time(recipe.batch_size, config.trainer.get("accumulate_grad_batches", 1), processes)
    return Batch(together // processes, processes)


def _num_processes(trainer: DictConfig) -> int:
    """Processes that train together: those that there are, or that a run would start which this is the plan of."""
    count, devices = own_rank().count, plain(trainer.get("devices"))
    if count > 1:
        return count
    if isinstance(devices, list):
        return len(devices)
    return max(1, devices) if isinstance(devices, int) else 1  # how many `auto` are is known where it runs


def make_optimization(
    recipe: DictConfig, num_images: int, betas: Any, layer_decay: float, decay_vectors: bool = False
) -> Optimization:
    """How a training on so many images is optimised; `recipe` is that of its stage."""
    total = num_steps(num_images, recipe.batch_size, recipe.epochs, recipe.steps)
    return Optimization(
        optimizer=build({"_target_": "torch.optim.AdamW", "_partial_": True, "betas": list(betas), "fused": True}),
        base_lr=recipe.base_lr,
        batch_size=recipe.batch_size,
        weight_decay=recipe.weight_decay,
        layer_decay=layer_decay,
        min_lr=recipe.min_lr,
        warmup_steps=num_warmup_steps(num_images, recipe.batch_size, recipe.warmup_epochs, recipe.warmup_steps, total),
        total_steps=total,
        decay_vectors=decay_vectors,
    )


def training_checkpoints(output_dir: Path, training: str) -> Checkpoints:
    """Where those of a training are: beside the results, whose own folders are gone when a training is killed."""
    return Checkpoints(output_dir / "checkpoints" / training)


def obtain_training(trained: Artifact, checkpoints: Checkpoints) -> Path:
    """What a training gives. Only where that is published, its checkpoints go: also those that a kill has left."""
    folder = trained.obtain_together()
    if not waits():
        with suppress(OSError):  # results may be shared read-only
            checkpoints.clear()
    return folder


def cell_images(prepared: Preparation, runner: Runner, cells: pd.DataFrame, view: View) -> ImageFiles:
    """Labeled cells with their class indices."""
    targets = [prepared.source.classes.index(label) for label in cells["label"]]
    return runner.images([prepared.cells.folder / crop for crop in cells["crop"]], targets, view)


@cache
def tell(line: str) -> None:
    """Say it once: weights are loaded to be checked, and again to be trained."""
    log.info("%s", line)
