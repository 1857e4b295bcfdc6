"""Whose weights are tested, and that a stop in the middle of it all changes nothing."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
import torch
from pytorch_lightning import seed_everything
from safetensors.torch import load_file
from torch import Tensor, nn
from watched import pictures, runner

from activessf.data.augmentations import RandomView, WholeView
from activessf.data.datasets import ImageFiles
from activessf.training.finetuning import Finetuned, Finetuning, finetune
from activessf.training.mixing import Mixing
from activessf.training.optimization import Optimization
from activessf.training.resuming import Checkpoints, SaveCheckpoints

SIZE, BATCH, STEPS = 32, 4, 8  # of 14 training cells, so three batches and a rest an epoch
OPTIMIZATION = Optimization(partial(torch.optim.AdamW, fused=True), 0.3, BATCH, 0.05, 0.75, 0.0, 2, STEPS)


class Stopped(RuntimeError):
    pass


def module(mixing: Mixing | None = None) -> Finetuning:
    """Draws dropped paths, and has running statistics."""
    seed_everything(0, verbose=False)
    network = timm.create_model("test_resnet", num_classes=2, drop_path_rate=0.3)
    return Finetuning(network, nn.CrossEntropyLoss(label_smoothing=0.1), OPTIMIZATION, mixing)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ImageFiles]:
    paths = pictures(tmp_path_factory.mktemp("cells"), 30, seed=0)
    targets = [index % 2 for index in range(30)]
    whole = ImageFiles(paths, targets, WholeView(SIZE), seed=0)
    seen = ImageFiles(paths[:14], targets[:14], RandomView(SIZE, (0.6, 1.0)), seed=0)
    return {"training": seen, "validation": whole.subset(range(14, 22)), "test": whole.subset(range(22, 30))}


def finetuned(
    folder: Path, cells: dict[str, ImageFiles], name: str, validated: bool = False, mixed: bool = False, **more: Any
) -> Finetuned:
    result = folder / name
    result.mkdir(parents=True)
    mixing = Mixing(0.8, 1.0, 2, 0) if mixed else None
    made = runner(folder, minutes=0)
    validation = cells["validation"] if validated else None
    checkpoints = Checkpoints(folder / "checkpoints")
    return finetune(module(mixing), cells["training"], cells["test"], made, result, checkpoints, validation, **more)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "network.safetensors")


EVERYTHING: dict[str, Any] = {"validated": True, "mixed": True, "ema_decay": 0.7}


@pytest.mark.parametrize("settings", [{"mixed": True}, {"validated": True}, {"ema_decay": 0.7}, EVERYTHING])
def test_a_fine_tuning_that_was_stopped_ends_with_the_same_bits(settings, cells, tmp_path, monkeypatch):
    expected = finetuned(tmp_path / "whole", cells, "result", **settings)
    begin = SaveCheckpoints.on_train_batch_start
    for stop in (1, 4, 6):  # 6 ends an epoch

        def stopping(self: SaveCheckpoints, trainer: Any, *rest: Any, stop: int = stop) -> None:
            begin(self, trainer, *rest)
            if trainer.global_step == stop:
                raise Stopped

        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(SaveCheckpoints, "on_train_batch_start", stopping)
            finetuned(tmp_path / str(stop), cells, "lost", **settings)
        found = finetuned(tmp_path / str(stop), cells, "result", **settings)
        assert torch.equal(found.probabilities, expected.probabilities) and found.used == expected.used
        kept, whole = (weights(folder / "result") for folder in (tmp_path / str(stop), tmp_path / "whole"))
        assert kept.keys() == whole.keys() and all(torch.equal(kept[name], whole[name]) for name in whole)
        if settings.get("validated"):
            tables = [(tmp_path / part / "result" / "validation.csv").read_bytes() for part in ("whole", str(stop))]
            assert tables[0] == tables[1]


def test_each_setting_changes_the_result(cells, tmp_path):
    found = [
        finetuned(tmp_path / str(number), cells, "result", **settings).probabilities
        for number, settings in enumerate([{}, {"mixed": True}, {"ema_decay": 0.7}])
    ]
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_looking_at_held_out_cells_changes_no_weight_of_the_training(cells, tmp_path):
    finetuned(tmp_path / "last", cells, "result")
    found = finetuned(tmp_path / "best", cells, "result", validated=True)
    history = [pd.read_csv(tmp_path / part / "result" / "history" / "metrics.csv") for part in ("last", "best")]
    losses = [table["train/loss"].dropna().tolist() for table in history]
    assert losses[0] == losses[1] and len(losses[0]) == STEPS // 2  # the test's runner logs every second step
    table = pd.read_csv(tmp_path / "best" / "result" / "validation.csv")
    assert table["step"].tolist() == [3, 6, 8]
    assert history[1]["val/pr_auc"].dropna().tolist() == pytest.approx(table["pr_auc"].tolist())
    row = table.loc[table["pr_auc"].idxmax()]
    assert found.used == {**row.to_dict(), "steps": STEPS, "validation_cells": 8}
    same = all(
        torch.equal(value, weights(tmp_path / "last" / "result")[name])
        for name, value in weights(tmp_path / "best" / "result").items()
    )
    assert same == (row["step"] == STEPS)


def test_the_network_that_is_written_is_the_one_that_is_tested(cells, tmp_path):
    found = finetuned(tmp_path, cells, "result", **EVERYTHING)
    network = timm.create_model("test_resnet", num_classes=2).eval()
    network.load_state_dict(weights(tmp_path / "result"))
    with torch.inference_mode():
        images = torch.stack([cells["test"][0, row][0] for row in range(len(cells["test"]))])
        expected = network(images).softmax(dim=1).double()
    torch.testing.assert_close(found.probabilities, expected / expected.sum(dim=1, keepdim=True))


def test_the_last_step_is_the_one_that_is_used_by_default(cells, tmp_path):
    assert finetuned(tmp_path, cells, "result").used == {"epoch": 2.67, "step": STEPS, "steps": STEPS}
    assert not (tmp_path / "result" / "validation.csv").exists()
