"""train.py as two processes against train.py as one: the same run folder, metrics and W&B run, nothing doubled."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from tiny import TINY, configure, on

from activessf import commands

ROOT = Path(__file__).resolve().parents[1]
# Dropped paths are drawn by each process for its own images, so they have no part in what is compared.
COMMON = ["fold=0", "recipe.finetuning.drop_path_rate=0"]
PRETRAINED = [*COMMON, "ssl=mae", "selection=crf"]
SUPERVISED = [*COMMON, "ssl=none", "backbone=resnet18", "recipe.finetuning.checkpoint=best"]


def script(output: Path, launcher: list[str], *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *launcher, str(ROOT / "train.py"), *TINY, f"paths.output_dir={output}", *overrides],
        env={**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def the_run(output: Path) -> Path:
    (folder,) = (output / "runs").glob("*/fold_0")
    return folder


def metrics(folder: Path) -> dict[str, float]:
    found = json.loads((folder / "metrics.json").read_text())
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def assert_equal(found: Path, expected: Path) -> None:
    """The same test cells once each, the same probabilities up to rounding, and metrics."""
    one, other = (pd.read_csv(folder / "predictions.csv", keep_default_na=False) for folder in (found, expected))
    places = ["image", "x", "y", "width", "height", "group", "fold", "label"]
    pd.testing.assert_frame_equal(one[places], other[places])
    np.testing.assert_allclose(one.filter(like="p_"), other.filter(like="p_"), atol=1e-4)
    assert metrics(found) == pytest.approx(metrics(expected), abs=1e-5)
    assert found.parent.name == expected.parent.name  # the number of devices has no part in what a run is
    assert sorted(path.name for path in found.iterdir()) == sorted(path.name for path in expected.iterdir())


@pytest.mark.slow
def test_two_devices_give_the_run_of_one(demo: Path, tmp_path: Path) -> None:
    expected = commands.train(configure(tmp_path / "one", *on(demo), *PRETRAINED))
    done = script(tmp_path / "two", [], *on(demo), *PRETRAINED, "trainer.devices=2", "logger=wandb")
    assert done.returncode == 0, done.stderr
    found = the_run(tmp_path / "two")
    assert_equal(found, expected)
    encoders = [next((tmp_path / name).glob("stages/pretraining/*/encoder.safetensors")) for name in ("one", "two")]
    first, second = map(load_file, encoders)
    assert set(first) == set(second)
    assert max((first[name] - second[name]).abs().max().item() for name in first) < 1e-5
    for part in ("probe.csv", "summary.json", "curves.png", "history/metrics.csv"):
        assert (encoders[1].parent / part).is_file()
    logged = [path.name for path in (tmp_path / "two" / "wandb").glob("offline-run-*")]
    assert sorted("-summary-" in name for name in logged) == [False, True]  # the run's, and the configuration's
    assert len(list((tmp_path / "two" / "jobs").iterdir())) == 1
    assert done.stdout.count("The result is in") == 1 and done.stdout.count("PR-AUC") == 1
    record = json.loads((found / "run.json").read_text())
    assert record["command"].startswith("python train.py recipe=quick") and "hydra.run.dir" not in record["command"]
    left = [path.name for path in (tmp_path / "two" / "checkpoints").rglob("*")]
    assert left == []


@pytest.mark.slow
def test_torchrun_with_two_processes_gives_the_run_of_one(demo: Path, tmp_path: Path) -> None:
    expected = commands.train(configure(tmp_path / "one", *on(demo), *SUPERVISED))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = script(tmp_path / "two", launcher, *on(demo), *SUPERVISED)
    assert done.returncode == 0, done.stderr
    assert_equal(the_run(tmp_path / "two"), expected)
    assert len(list((tmp_path / "two" / "jobs").iterdir())) == 1
