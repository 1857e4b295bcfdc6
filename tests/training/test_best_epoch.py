from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score
from torch import Tensor, nn

from activessf.data.augmentations import WholeView
from activessf.data.datasets import ImageFiles
from activessf.data.images import write_png
from activessf.training.best_epoch import BestEpoch

TARGETS = [0, 1, 2, 0, 1, 2, 0, 0, 1, 2]


class Scripted(nn.Module):
    """Logits are the image's mean colour times the weights; it tells if it ran in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(3, 3))
        self.dropped = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        return self.dropped(images.mean(dim=(2, 3)) @ self.weights)


class Recorder:
    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, numbers: dict[str, float], step: int) -> None:
        self.logged.append((step, numbers))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageFiles:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    paths = [folder / f"{row}.png" for row in range(len(TARGETS))]
    for path in paths:
        write_png(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), path)
    return ImageFiles(paths, TARGETS, WholeView(4), seed=0)


def weights(step: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(step).normal(size=(3, 3))).float()


def naive_scores(images: ImageFiles, step: int) -> tuple[float, float, float]:
    logits = torch.stack([images[0, row][0].mean(dim=(1, 2)) for row in range(len(images))]) @ weights(step)
    probabilities, truth = logits.double().softmax(dim=1).numpy(), np.array(TARGETS)
    precision = [average_precision_score(truth == k, probabilities[:, k]) for k in range(3)]
    predicted = probabilities.argmax(axis=1)
    return float(np.mean(precision)), accuracy_score(truth, predicted), f1_score(truth, predicted, average="macro")


def look(best: BestEpoch, network: Scripted, steps: range, recorder: Recorder, scripted=weights) -> None:
    for step in steps:
        with torch.no_grad():
            network.weights.copy_(scripted(step))
        plugin = SimpleNamespace(forward_context=nullcontext)
        best.on_train_batch_end(
            SimpleNamespace(global_step=step, precision_plugin=plugin, loggers=[recorder]), None, None, None, 0
        )


def made(network: nn.Module, images: ImageFiles, table: Path, total: int = 20) -> BestEpoch:
    return BestEpoch(network, images, 4, 0, epoch_steps=3, total_steps=total, table=table)


def test_the_weights_of_the_epoch_with_the_highest_pr_auc_are_kept(images, tmp_path):
    network, recorder = Scripted().train(), Recorder()
    best = made(network, images, tmp_path / "validation.csv")
    state = torch.get_rng_state()
    look(best, network, range(1, 21), recorder)
    assert torch.equal(torch.get_rng_state(), state) and network.training and network.dropped.training
    steps = [3, 6, 9, 12, 15, 18, 20]  # the last one is part of an epoch
    expected = {step: naive_scores(images, step) for step in steps}
    winner = max(steps, key=lambda step: expected[step][0])
    assert best.best["step"] == winner and torch.equal(best.weights["weights"], weights(winner))
    table = pd.read_csv(tmp_path / "validation.csv")
    assert table["step"].tolist() == steps and table["epoch"].tolist() == [1, 2, 3, 4, 5, 6, 6.67]
    np.testing.assert_allclose(table[["pr_auc", "accuracy", "f1"]], [expected[step] for step in steps], atol=1e-12)
    assert [step for step, _ in recorder.logged] == steps
    assert recorder.logged[0][1] == pytest.approx(
        dict(zip(("val/pr_auc", "val/accuracy", "val/f1"), expected[3], strict=True))
    )


def test_of_equal_epochs_the_first_is_kept(images, tmp_path):
    def same(step: int) -> Tensor:
        return weights(0) + step * torch.ones(3, 1)  # as much for all classes: no probability changes

    network = Scripted()
    best = made(network, images, tmp_path / "validation.csv")
    look(best, network, range(1, 13), Recorder(), scripted=same)
    assert best.best["step"] == 3 and torch.equal(best.weights["weights"], same(3))


def test_the_best_epoch_of_before_a_stop_is_not_forgotten(images, tmp_path):
    network = Scripted()
    whole, before = (made(network, images, tmp_path / f"{name}.csv") for name in ("whole", "parts"))
    look(whole, network, range(1, 21), Recorder())
    stop = int(whole.best["step"]) + 1
    assert stop < 20  # nothing better comes after it
    look(before, network, range(1, stop), Recorder())
    torch.save(before.state_dict(), tmp_path / "state.pt")
    after = made(network, images, tmp_path / "again" / "parts.csv")
    (tmp_path / "again").mkdir()
    after.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    look(after, network, range(stop, 21), Recorder())
    assert after.best == whole.best and torch.equal(after.weights["weights"], whole.weights["weights"])
    assert (tmp_path / "again" / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_batches_that_are_accumulated_are_looked_at_once(images, tmp_path):
    network, recorder = Scripted(), Recorder()
    best = made(network, images, tmp_path / "validation.csv")
    for _ in range(3):
        look(best, network, range(3, 4), recorder)
    assert len(recorder.logged) == 1


def test_predictions_that_are_no_numbers_are_never_the_best(images, tmp_path):
    network = Scripted()
    best = made(network, images, tmp_path / "validation.csv")
    look(best, network, range(3, 4), Recorder(), scripted=lambda _: torch.full((3, 3), torch.nan))
    assert not (tmp_path / "validation.csv").exists()
    look(best, network, range(4, 7), Recorder())
    assert best.best["step"] == 6
