"""Configurations so small that a test can run the whole pipeline, and what such tests share."""

import os
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from activessf import commands
from activessf.cli.spelling import canonical
from activessf.configuration import CONF
from activessf.errors import InputError

TINY = [
    "recipe=quick", "logger=csv", "trainer=cpu", "num_workers=0", "recipe.pretraining.steps=3",
    "recipe.pretraining.warmup_steps=1", "recipe.finetuning.steps=3", "recipe.finetuning.warmup_steps=1",
    "recipe.pretraining.batch_size=8", "recipe.finetuning.batch_size=16", "recipe.feature_image_size=32",
    "trainer.log_every_n_steps=1",
]  # fmt: skip


def configure(output: Path, *overrides: str) -> DictConfig:
    os.environ["ACTIVESSF_ROOT"] = str(CONF.parent)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", canonical([*TINY, f"paths.output_dir={output}", *overrides]))


def on(demo: Path) -> list[str]:
    return ["data=manifest", f"data.root={demo}"]


def refused(output: Path, *overrides: str, match: str, stage=commands.train) -> None:
    with pytest.raises(InputError, match=match):
        stage(configure(output, *overrides))


def copied(demo: Path, folder: Path, keep=lambda cells: cells) -> Path:
    (folder / "slides").mkdir(parents=True)
    for slide in (demo / "slides").iterdir():
        (folder / "slides" / slide.name).symlink_to(slide)
    keep(pd.read_csv(demo / "cells.csv", keep_default_na=False)).to_csv(folder / "cells.csv", index=False)
    return folder


def vit_mini(seed: int, image_size: int = 48) -> torch.nn.Module:
    torch.manual_seed(seed)
    sizes = {"patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4}
    return timm.create_model("vit_tiny_patch16_224", img_size=image_size, num_classes=0, **sizes)
