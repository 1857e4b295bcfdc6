"""A pretraining that is watched, from the first look to the figures."""

import json
import logging
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import wandb
from PIL import Image
from pytorch_lightning.loggers import WandbLogger
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from watched import NUM_CELLS, Blurred, Stopped, cells, pretrained, runner, stopped, tiny_mae, watch

from activessf.backbones.pooling import PooledTokens
from activessf.data.datasets import ImageFiles
from activessf.training.held_out import split
from activessf.training.loggers import wandb_logger
from activessf.training.watching.curves import draw_curves
from activessf.training.watching.feature_probe import FeatureProbe, LabeledCells

NUMBERS = ["knn_accuracy", "knn_f1", "linear_accuracy", "linear_f1", "feature_std"]

pytestmark = pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start")  # a method of the tests has some


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return pretrained(tmp_path_factory.mktemp("watched"), tiny_mae(), watch())


def test_the_folder_holds_what_was_seen(result):
    assert {path.name for path in result.iterdir()} == {
        "encoder.safetensors", "summary.json", "history", "probe.csv", "curves.png", "reconstructions",
    }  # fmt: skip
    table = pd.read_csv(result / "probe.csv")
    assert list(table) == ["step", *NUMBERS] and table["step"].tolist() == [0, 4, 8, 10]
    assert table[NUMBERS].apply(lambda column: column.between(0, 1)).all(axis=None)
    assert sorted(path.name for path in (result / "reconstructions").iterdir()) == [
        f"step_{step:06d}.png" for step in (0, 4, 8, 10)
    ]
    summary = json.loads((result / "summary.json").read_text())
    assert summary["probe"] == {"fold": 2, **table.iloc[-1].to_dict()}
    assert (summary["images"], summary["steps"]) == (24, 10)
    assert min(Image.open(result / "curves.png").size) > 500


def test_the_history_holds_loss_rate_throughput_memory_and_probe(result):
    history = pd.read_csv(result / "history" / "metrics.csv")
    logged = history.dropna(subset="pretrain/loss")
    assert logged["step"].tolist() == [1, 3, 5, 7, 9]
    for name in ("pretrain/lr", "pretrain/images_per_second", "pretrain/memory_gib"):
        assert (logged[name] >= 0).all(), name
    assert (logged["pretrain/images_per_second"] > 0).all() and (logged["pretrain/memory_gib"] > 0.05).all()
    probed = history.dropna(subset="probe/knn_f1")
    expected = pd.read_csv(result / "probe.csv")
    assert probed["step"].tolist() == expected["step"].tolist()
    for name in NUMBERS:
        assert probed[f"probe/{name}"].to_numpy() == pytest.approx(expected[name].to_numpy()), name


def by_hand(encoder, tmp_path):
    """What a probe finds, with scikit-learn alone."""
    labeled = cells(tmp_path)
    images = torch.stack([labeled.images[0, index][0] for index in range(NUM_CELLS)])
    with torch.no_grad():
        features = encoder.eval().forward_features(images)[:, 1:].mean(dim=1).numpy()
    targets = np.arange(NUM_CELLS) % 2
    known, held_out = split(targets, labeled.groups, 0.25, 0)
    neighbours = KNeighborsClassifier(5, metric="cosine", weights=lambda distances: np.exp((1 - distances) / 0.07))
    scaler = StandardScaler().fit(features[known])
    found = []
    for classifier, inputs in (
        (neighbours, features),
        (LogisticRegression(max_iter=1000), scaler.transform(features)),
    ):
        predicted = classifier.fit(inputs[known], targets[known]).predict(inputs[held_out])
        found += [accuracy_score(targets[held_out], predicted), f1_score(targets[held_out], predicted, average="macro")]
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    return [*found, directions.std(axis=0).mean() * np.sqrt(features.shape[1])]


def test_the_first_row_is_the_untrained_encoder_and_the_last_the_one_that_is_handed_on(result, tmp_path):
    table = pd.read_csv(result / "probe.csv")
    encoder = tiny_mae().encoder
    assert table[NUMBERS].iloc[0].tolist() == pytest.approx(by_hand(encoder, tmp_path), abs=1e-5)
    encoder.load_state_dict(load_file(result / "encoder.safetensors"))
    assert table[NUMBERS].iloc[-1].tolist() == pytest.approx(by_hand(encoder, tmp_path), abs=1e-5)


@pytest.mark.parametrize("make", [tiny_mae, Blurred])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_who_watches_changes_no_bit_of_the_training(tmp_path, make, num_workers):
    found = {}
    for name, settings in {
        "closely": watch(steps=1), "seldom": watch(steps=7, num_images=0), "not": watch(steps=None, every=0),
    }.items():  # fmt: skip
        method = make()
        modes = [part.training for part in method.modules()]
        made_by = runner(tmp_path, num_workers=num_workers)
        folder = pretrained(tmp_path, method, settings, 6, made_by, name)
        history = pd.read_csv(folder / "history" / "metrics.csv").dropna(subset="pretrain/loss")
        found[name] = method.state_dict(), history["pretrain/loss"].tolist()
        assert [part.training for part in method.modules()] == modes
        assert (folder / "probe.csv").exists() == (name != "not")
    weights, losses = found["not"]
    for name in ("closely", "seldom"):
        assert found[name][1] == losses
        for key, value in found[name][0].items():
            assert torch.equal(value, weights[key]), (name, key)
    untrained = make().state_dict()
    assert any(not torch.equal(value, untrained[key]) for key, value in weights.items())


def test_accumulated_batches_are_looked_at_once_a_step(tmp_path):
    made_by = runner(tmp_path, accumulate_grad_batches=2)
    folder = pretrained(tmp_path, tiny_mae(), watch(steps=2), 5, made_by)
    assert pd.read_csv(folder / "probe.csv")["step"].tolist() == [0, 2, 4, 5]
    history = pd.read_csv(folder / "history" / "metrics.csv")
    assert history["pretrain/memory_gib"].notna().sum() == history["pretrain/loss"].notna().sum() == 2


def test_precisions_of_sixteen_bits_are_probed_as_well(tmp_path):
    for precision in ("bf16-mixed", "bf16-true", "64-true"):
        made_by = runner(tmp_path, precision=precision)
        folder = pretrained(tmp_path, tiny_mae(), watch(), 2, made_by, precision)
        assert len(pd.read_csv(folder / "probe.csv")) == 2
        assert len(list((folder / "reconstructions").iterdir())) == 2


def test_a_method_without_reconstructions_is_probed_alone(tmp_path):
    folder = pretrained(tmp_path, Blurred(), watch(), 4)
    assert (folder / "probe.csv").is_file() and not (folder / "reconstructions").exists()


def test_without_a_look_there_are_curves_of_the_loss(tmp_path):
    folder = pretrained(tmp_path, tiny_mae(), watch(every=0, steps=None))
    assert {path.name for path in folder.iterdir()} == {"encoder.safetensors", "summary.json", "history", "curves.png"}
    assert json.loads((folder / "summary.json").read_text())["probe"] is None


def test_a_training_shorter_than_the_logging_interval_has_no_curves(tmp_path):
    folder = pretrained(tmp_path, tiny_mae(), watch(every=0, steps=None), 1)
    assert not (folder / "curves.png").exists()


@pytest.mark.parametrize(
    ("every", "steps", "expected"),
    [(2, None, 6), (0.5, None, 2), (0.01, None, 1), (0, None, None), (0, 5, None), (3, 5, 5)],
)
def test_epochs_between_looks_are_counted_in_steps(every, steps, expected):
    assert watch(every=every, steps=steps).steps_between(num_images=27, batch_size=8) == expected


def test_a_set_smaller_than_a_batch_is_an_epoch_of_one_step():
    assert watch(every=20, steps=None).steps_between(num_images=5, batch_size=64) == 20


@pytest.mark.parametrize("stops", [1, 4, 5, 7])
def test_a_resumed_training_shows_all_that_one_shows_that_was_not_stopped(result, tmp_path, stops):
    often = runner(tmp_path, minutes=0)
    with pytest.raises(Stopped):
        pretrained(tmp_path, stopped(tiny_mae(), stops), watch(), made_by=often, name="stopped")
    shutil.rmtree(tmp_path / "stopped")  # as a stage's folder is
    again = pretrained(tmp_path, tiny_mae(), watch(), made_by=often, name="again")
    assert (again / "encoder.safetensors").read_bytes() == (result / "encoder.safetensors").read_bytes()
    assert (again / "probe.csv").read_bytes() == (result / "probe.csv").read_bytes()
    pictures = {path.name: path.read_bytes() for path in (result / "reconstructions").iterdir()}
    assert {path.name: path.read_bytes() for path in (again / "reconstructions").iterdir()} == pictures
    probed = pd.read_csv(again / "history" / "metrics.csv").dropna(subset="probe/knn_f1")
    assert probed["step"].tolist() == [0, 4, 8, 10]


# Looks that find something amiss


def look(tmp_path, method, **settings):
    probe = FeatureProbe(cells(tmp_path), watch(**settings), 16, 0)
    return probe, method.eval()


def test_a_collapse_is_said_once_and_again_after_a_recovery(tmp_path, caplog):
    probe, method = look(tmp_path, tiny_mae(), collapse_below=0.005)
    weight = method.encoder.norm.weight
    with caplog.at_level(logging.WARNING), torch.no_grad():
        probe(method, 0)
        probe(method, 1)
        assert not caplog.records
        method.encoder.norm.bias.fill_(1.0)
        weight.fill_(1e-4)  # features are nearly all the bias
        probe(method, 0)
        assert not caplog.records  # untrained encoders are what they are
        for step in (2, 3):
            probe(method, step)
        assert len(caplog.records) == 1
        weight.fill_(1.0)
        probe(method, 4)
        weight.fill_(1e-4)
        probe(method, 5)
    assert [record.getMessage()[:60] for record in caplog.records] == [
        "The features of different cells are nearly the same after 2 ",
        "The features of different cells are nearly the same after 5 ",
    ]
    assert "may have collapsed" in caplog.text and "watch.collapse_below=0.005" in caplog.text


def test_features_that_are_no_numbers_are_left_to_the_guard_of_the_loss(tmp_path, caplog):
    probe, method = look(tmp_path, tiny_mae())
    with torch.no_grad():
        method.encoder.norm.bias.fill_(float("nan"))
        assert probe(method, 3).numbers == {}
    assert "no numbers any more after 3 steps" in caplog.text


def test_too_few_cells_are_said_and_not_probed(tmp_path, caplog):
    labeled = cells(tmp_path)
    few = LabeledCells(labeled.images.subset([0]), ["a"], 0)
    probe = FeatureProbe(few, watch(), 16, 0)
    assert "1 labeled cells of the training folds are too few" in caplog.text
    assert probe(tiny_mae().eval(), 0).numbers == {}


def test_of_many_cells_some_are_probed(tmp_path):
    seen = []

    class Counting(ImageFiles):
        def __getitem__(self, item):
            seen.append(item[1])
            return super().__getitem__(item)

    labeled = cells(tmp_path)
    images = Counting(labeled.images.paths, labeled.images.targets, labeled.images.view, 0)
    probe = FeatureProbe(LabeledCells(images, labeled.groups, 0), watch(probe_cells=12), 16, 0)
    with torch.no_grad():
        probe(tiny_mae().eval(), 0)
    assert sorted(seen) == list(range(12)) and len(probe._images) == 12


def test_features_are_those_that_selection_takes_from_an_encoder(tmp_path):
    images = torch.randn(2, 3, 32, 32)
    encoder = tiny_mae().encoder.eval()
    assert torch.equal(PooledTokens(encoder)(images), encoder.forward_features(images)[:, 1:].mean(dim=1))
    own = Blurred().encoder.eval()
    assert torch.equal(PooledTokens(own)(images), own(images))


# Where it goes besides


def test_an_offline_run_of_wandb_holds_the_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()  # W&B reads the environment once a process
    loggers = wandb_logger("activessf", None, name="a", group="b", directory=tmp_path / "out", config={})
    try:
        pretrained(tmp_path, tiny_mae(), watch(), 4, runner(tmp_path, loggers))
    finally:
        wandb.finish()
        wandb.teardown()
    (run,) = (tmp_path / "out" / "wandb").glob("offline-run-*")
    assert list(run.glob("run-*.wandb"))
    assert len(list(run.rglob("media/images/**/*.png"))) == 2


def test_wandb_that_is_off_does_no_harm(tmp_path):
    loggers = wandb_logger("activessf", "disabled", name="a", group="b", directory=tmp_path / "out", config={})
    assert isinstance(loggers[0], WandbLogger)
    try:
        folder = pretrained(tmp_path, tiny_mae(), watch(), 2, runner(tmp_path, loggers))
    finally:
        wandb.finish()
    assert (folder / "probe.csv").is_file() and not list((tmp_path / "out").rglob("*.png"))


def test_curves_of_a_history_that_lacks_columns_are_drawn(tmp_path):
    history = tmp_path / "metrics.csv"
    history.write_text("epoch,pretrain/loss,step\n0,1.5,9\n0,,12\n")
    draw_curves(history, tmp_path / "curves.png")
    assert min(Image.open(tmp_path / "curves.png").size) > 500
