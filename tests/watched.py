"""A pretraining of seconds, with everything that watches it."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn

from activessf.data.augmentations import RandomView, WholeView
from activessf.data.datasets import ImageFiles
from activessf.data.images import write_png
from activessf.methods.decoder import PixelDecoder
from activessf.methods.mae import MAE
from activessf.methods.method import SelfSupervisedMethod
from activessf.training.optimization import Optimization
from activessf.training.pretraining import Watched, pretrain
from activessf.training.resuming import Checkpoints
from activessf.training.running import Runner
from activessf.training.watching.feature_probe import LabeledCells
from activessf.training.watching.settings import Watch

SIZE, PATCH = 32, 8
NUM_CELLS = 40


def tiny_mae(**changes: Any) -> MAE:
    torch.manual_seed(0)
    backbone = partial(
        timm.create_model, "vit_tiny_patch16_224", img_size=SIZE, patch_size=PATCH, embed_dim=16, depth=1, num_heads=2,
        proj_drop_rate=0.1,
    )  # fmt: skip
    decoder = partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2)
    return MAE(backbone, decoder, **{"mask_ratio": 0.75, "norm_pix_loss": False, **changes})


class Blurred(SelfSupervisedMethod):
    """A method with running statistics, dropout and noise, that can't reconstruct."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = timm.create_model("test_resnet", num_classes=0)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(self.encoder.num_features, 4))
        self.encoder.layer2.eval()  # a mode of its own, which watching must not change

    def forward(self, views: Tensor, progress: float = 0.0) -> Tensor:
        return (self.head(self.encoder(views + 0.1 * torch.randn_like(views))) - 1).square().mean()


class Diverging(Blurred):
    """One whose loss is no number from some step on."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def forward(self, views: Tensor, progress: float = 0.0) -> Tensor:
        done = progress * self.optimization.total_steps
        return super().forward(views) * (float("nan") if round(done) + 1 >= self._step else 1)


class Stopped(RuntimeError):
    pass


def stopped(method: SelfSupervisedMethod, step: int) -> SelfSupervisedMethod:
    """The method, so that a training of it breaks off once so many steps are done."""
    go_on = method.training_step

    def training_step(*batch: Any) -> Tensor:
        if method.global_step == step:
            raise Stopped
        return go_on(*batch)

    method.training_step = training_step
    return method


def watch(**changes: Any) -> Watch:
    usual: dict[str, Any] = {
        "every": 1, "steps": 4, "num_images": 3, "probe": True, "probe_cells": 1000, "held_out": 0.25,
        "knn_neighbours": 5, "knn_temperature": 0.07, "collapse_below": 0.0,
    }  # fmt: skip
    return Watch(**{**usual, **changes})


def pictures(folder: Path, number: int, seed: int) -> list[Path]:
    """Discs on white whose colour is that of class `index % 2`."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :40]
    paths = []
    for index in range(number):
        image = np.full((40, 40, 3), 235, np.uint8)
        disc = (x - rng.integers(15, 25)) ** 2 + (y - rng.integers(15, 25)) ** 2 < rng.integers(80, 140)
        image[disc] = ((120, 60, 160), (200, 90, 110))[index % 2]
        image = np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)
        paths.append(folder / f"{index:03d}.png")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        write_png(image, paths[-1])
    return paths


def cells(folder: Path) -> LabeledCells:
    paths = pictures(folder / "cells", NUM_CELLS, seed=1)
    images = ImageFiles(paths, [index % 2 for index in range(NUM_CELLS)], WholeView(SIZE), seed=0)
    return LabeledCells(images, [f"patient {index // 4}" for index in range(NUM_CELLS)], fold=2)


def runner(
    folder: Path, loggers: Sequence[Logger] = (), num_workers: int = 0, minutes: float = math.inf, **trainer: Any
) -> Runner:
    make = partial(
        Trainer, accelerator="cpu", devices=1, enable_model_summary=False, log_every_n_steps=2, deterministic="warn",
        **trainer,
    )  # fmt: skip
    return Runner(make, lambda: loggers, num_workers, 0, 0, folder / "failed", minutes)


def pretrained(
    folder: Path,
    method: SelfSupervisedMethod,
    settings: Watch,
    steps: int = 10,
    made_by: Runner | None = None,
    name: str = "result",
) -> Path:
    """Pretrain on 24 pictures in batches of 8: three steps an epoch."""
    method.optimization = Optimization(torch.optim.AdamW, 0.03, 8, 0.05, 1.0, 0.0, 2, steps)
    result = folder / name
    result.mkdir()
    images = pictures(folder / "images", 24, seed=0)
    pretrain(
        method, images, RandomView(SIZE, (0.6, 1.0)), made_by or runner(folder), "tiny", result,
        Checkpoints(folder / "checkpoints"), Watched(settings, cells(folder)),
    )  # fmt: skip
    return result
