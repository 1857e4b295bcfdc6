"""Configurations so small that a test can run the whole pipeline."""

import os
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from activessf.cli.spelling import canonical
from activessf.configuration import CONF

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
