"""What stages 3 and 4 are both made of: from the configuration to named values."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from activessf.artifacts import Artifact
from activessf.configuration import build, without
from activessf.data.datasets import ImageFiles, View
from activessf.launching.meeting import waits
from activessf.preparation import Preparation
from activessf.training.optimization import Optimization
from activessf.training.resuming import Checkpoints
from activessf.training.running import Runner, num_steps, num_warmup_steps

log = logging.getLogger(__name__)

_NO_PART_OF_TRAINER = ("accelerator", "devices", "strategy", "enable_model_summary", "log_every_n_steps")


def make_backbone(config: DictConfig) -> Any:
    """What makes the network when it is called with `num_classes`."""
    return build(without(config.backbone, "name", "checkpoint"))


def trainer_settings(config: DictConfig) -> dict[str, Any]:
    """What of the Trainer has a part in a training's result."""
    return without(config.trainer, *_NO_PART_OF_TRAINER)


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
