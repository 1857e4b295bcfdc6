"""Stage 4 in the pipeline: who is trained on, what is classified, what counts in a run's key and record."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.neighbors import KNeighborsClassifier
from tiny import configure, on

from activessf import classification, commands, pipeline
from activessf.checkpoints.results import trained_network
from activessf.data.augmentations import WholeView
from activessf.data.datasets import ImageFiles
from activessf.errors import InputError
from activessf.evaluation.runs import collect_runs, with_unique_titles

WHOLE_SLIDES = ["ssl=mae", "selection=none", "fold=1"]
BASELINE = ["ssl=none", "fold=1"]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


def made(outputs: Path, demo: Path, *overrides: str) -> pipeline.Pipeline:
    return pipeline.Pipeline(configure(outputs, *on(demo), *overrides))


def trained(outputs: Path, demo: Path, *overrides: str) -> tuple[Path, dict[str, Any], pd.DataFrame]:
    folder = commands.train(configure(outputs, *on(demo), *overrides))
    predictions = pd.read_csv(folder / "predictions.csv", keep_default_na=False)
    probabilities = predictions.filter(like="p_").to_numpy()
    assert probabilities.shape[1] == 11 and np.abs(probabilities.sum(axis=1) - 1).max() < 1e-9
    return folder, json.loads((folder / "run.json").read_text()), predictions


# Keys


def test_settings_that_do_nothing_are_in_no_key_and_those_that_do_are(outputs, demo):
    name = made(outputs, demo, *BASELINE).run_name
    for idle in (
        "recipe.finetuning.validation_share=0.3", "recipe.finetuning.mixup=0", "recipe.finetuning.ema_decay=null",
        "recipe.finetuning.checkpoint=last", "evaluation=finetune",
    ):  # fmt: skip
        assert made(outputs, demo, *BASELINE, idle).run_name == name, idle
    best = "recipe.finetuning.checkpoint=best"
    names = [
        made(outputs, demo, *BASELINE, *settings).run_name
        for settings in (
            ["recipe.finetuning.mixup=0.8"],
            ["recipe.finetuning.cutmix=1"],
            ["recipe.finetuning.ema_decay=0.9"],
            ["recipe.finetuning.pool=token"],
            [best],
            [best, "recipe.finetuning.validation_share=0.3"],
            ["evaluation=linear_probe"],
            ["evaluation=knn"],
            ["evaluation=knn", "evaluation.classifier.neighbours=3"],
            ["evaluation=knn", "recipe.finetuning.pool=token"],
        )
    ]
    assert len({name, *names}) == 11


def test_a_frozen_encoder_does_not_know_how_it_would_be_fine_tuned(outputs, demo):
    name = made(outputs, demo, *WHOLE_SLIDES, "evaluation=knn").run_name
    for idle in ("recipe.finetuning.steps=7", "loss.label_smoothing=0", "ssl.finetuning_layer_decay=0.5"):
        assert made(outputs, demo, *WHOLE_SLIDES, "evaluation=knn", idle).run_name == name, idle
        assert made(outputs, demo, *WHOLE_SLIDES, idle).run_name != made(outputs, demo, *WHOLE_SLIDES).run_name


def test_ways_to_fine_tune_share_their_pretraining(outputs, demo):
    name = made(outputs, demo, *WHOLE_SLIDES).pretraining.artifact.name
    for setting in ("recipe.finetuning.pool=token", "ssl.finetuning_layer_decay=0.5", "evaluation=knn"):
        assert made(outputs, demo, *WHOLE_SLIDES, setting).pretraining.artifact.name == name, setting


# The epoch that is used


def test_cells_that_choose_the_epoch_are_of_the_training_folds_and_are_not_trained_on(outputs, demo, monkeypatch):
    seen: dict[str, Any] = {}

    def look(module, training, test, runner, folder, checkpoints, validation, ema_decay):
        seen.update(training=training, test=test, validation=validation, steps=module.optimization.total_steps)
        raise InputError("seen enough")

    monkeypatch.setattr(classification, "finetune", look)
    config = made(
        outputs, demo, *BASELINE, "recipe.finetuning.checkpoint=best", "recipe.finetuning.steps=null",
        "recipe.finetuning.epochs=2", "recipe.finetuning.batch_size=8",
    )  # fmt: skip
    with pytest.raises(InputError, match="seen enough"):
        config.run.obtain()
    table = config.prepared.labeled.set_index("crop")
    crops = {
        part: [path.relative_to(config.prepared.cells.folder).as_posix() for path in seen[part].paths]
        for part in ("training", "validation", "test")
    }
    assert sorted(sum(crops.values(), [])) == sorted(table.index)
    assert (table.loc[crops["test"], "fold"] == 1).all()
    learned, held_out = table.loc[crops["training"]], table.loc[crops["validation"]]
    assert not (learned["fold"] == 1).any() and not (held_out["fold"] == 1).any()
    assert not set(learned["group"]) & set(held_out["group"]) and held_out["group"].ne("").all()
    assert 0.1 < len(held_out) / (len(held_out) + len(learned)) < 0.35
    assert isinstance(seen["validation"].view, WholeView) and seen["steps"] == 2 * (len(learned) // 8)


def test_a_run_tells_which_epoch_it_used(outputs, demo):
    folder, record, _ = trained(
        outputs, demo, *BASELINE, "recipe.finetuning.checkpoint=best", "recipe.finetuning.steps=12",
        "recipe.finetuning.mixup=0.8", "recipe.finetuning.cutmix=1", "recipe.finetuning.ema_decay=0.9",
    )  # fmt: skip
    told, table = record["classification"], pd.read_csv(folder / "validation.csv")
    best = table.loc[table["pr_auc"].idxmax()]
    assert told["checkpoint"] == "best" and told["evaluation"] == "finetune" and told["steps"] == 12
    assert (told["step"], told["pr_auc"]) == (best["step"], pytest.approx(best["pr_auc"])) and told["validation_cells"]
    settings = record["settings"]
    assert settings["recipe.finetuning.checkpoint"] == "best" and settings["recipe.finetuning.ema_decay"] == 0.9


def test_the_classifier_of_ldam_is_normalised_and_one_that_is_retrained_is_linear(outputs, demo):
    folder, _, _ = trained(outputs, demo, *BASELINE, "loss=ldam", "recipe.finetuning.retrain_head=1")
    retrained = load_file(folder / "network.safetensors")
    assert "head.bias" in retrained and trained_network(folder).build().head.bias is not None
    base, record, predictions = trained(outputs, demo, *BASELINE, "loss=ldam")
    weights = load_file(base / "network.safetensors")
    assert "head.bias" not in weights and weights["head.weight"].shape == retrained["head.weight"].shape
    assert record["settings"]["loss.normalised_classifier"] is True
    # Logits of 30 x cosine lie within 60 of each other.
    probabilities = predictions.filter(like="p_").to_numpy()
    assert np.log(probabilities.max() / probabilities.min()) <= 60.01
    with pytest.raises(InputError, match="loss.normalised_classifier=false, or the encoder"):
        trained_network(base)


def test_too_few_cells_to_hold_some_out_are_said_before_anything_is_trained(outputs, demo, monkeypatch):
    monkeypatch.setattr(classification, "split", lambda *_: None)
    monkeypatch.setattr(classification, "finetune", None)  # would fail if called
    with pytest.raises(InputError, match="checkpoint=best holds out.*of fold 1 are too few.*checkpoint=last"):
        trained(outputs, demo, *BASELINE, "recipe.finetuning.checkpoint=best", "recipe.finetuning.steps=5")


# What is classified


def test_a_class_token_is_classified_with_the_encoders_own_norm_and_nothing_fresh_but_the_head(
    outputs, demo, monkeypatch
):
    first = {}
    original = classification.finetune

    def look(module, *rest):
        first.update({name: value.clone() for name, value in module.network.state_dict().items()})
        assert module.network.global_pool == "token"
        return original(module, *rest)

    monkeypatch.setattr(classification, "finetune", look)
    folder, record, predictions = trained(outputs, demo, *WHOLE_SLIDES, "recipe.finetuning.pool=token")
    encoder = load_file(outputs / "stages" / "pretraining" / record["pretraining"] / "encoder.safetensors")
    assert set(first) - set(encoder) == {"head.weight", "head.bias"}
    assert all(torch.equal(first[name], value) for name, value in encoder.items())
    # Whoever takes the run's network pools in the same way.
    network, crops = trained_network(folder).build(), crops_of(outputs, demo, record["fold"])
    with torch.inference_mode():
        found = network(torch.stack([crops[1][0, row][0] for row in range(len(crops[1]))])).softmax(dim=1)
    np.testing.assert_allclose(found, predictions.filter(like="p_"), atol=1e-5)


@pytest.mark.parametrize(
    "overrides", [["ssl=none", "backbone=resnet18"], ["ssl=convmae"], ["ssl=none", "backbone=mixmim_mini"]]
)
def test_a_network_without_a_class_token_can_not_classify_it(outputs, demo, overrides):
    with pytest.raises(InputError, match="finetuning_pool=token, but .* has no class token"):
        trained(outputs, demo, *overrides, "recipe.finetuning.pool=token")


@pytest.mark.parametrize(
    "overrides", [["ssl=mae"], ["ssl=convmae"], ["ssl=mixmim"], ["ssl=mae", "recipe.finetuning.pool=token"]]
)
def test_a_classifier_begins_with_the_published_deviation(outputs, demo, overrides):
    head = made(outputs, demo, *overrides).classification.network(None).head
    assert head.weight.std().item() == pytest.approx(2e-5, rel=0.1) and not head.bias.any()
    other = made(outputs, demo, *overrides, "ssl.finetuning_head_std=0.3").classification.network(None)
    assert other.head.weight.std().item() == pytest.approx(0.3, rel=0.1)


def test_a_baselines_classifier_begins_as_its_network_draws_it(outputs, demo):
    head = made(outputs, demo, "ssl=none", "backbone=vit_mini").classification.network(None).head
    assert head.weight.std().item() == pytest.approx(0.02, rel=0.15)


@pytest.mark.parametrize("std", ["0", "-1", "wide"])
def test_a_deviation_that_cannot_be_is_refused(outputs, demo, std):
    with pytest.raises(InputError, match="finetuning_head_std=.* must be null or a number above 0"):
        made(outputs, demo, f"ssl.finetuning_head_std={std}")


# Frozen encoders


def crops_of(outputs: Path, demo: Path, fold: int) -> tuple[ImageFiles, ImageFiles]:
    prepared = made(outputs, demo, f"fold={fold}").prepared
    table, classes = prepared.labeled, list(prepared.source.classes)
    parts = []
    for rows in (table["fold"] != fold, table["fold"] == fold):
        paths = [prepared.cells.folder / crop for crop in table.loc[rows, "crop"]]
        parts.append(ImageFiles(paths, [classes.index(name) for name in table.loc[rows, "label"]], WholeView(48), 0))
    return parts[0], parts[1]


def test_the_neighbours_of_a_run_are_those_of_the_pretrained_encoders_features(outputs, demo):
    folder, record, predictions = trained(outputs, demo, *WHOLE_SLIDES, "evaluation=knn")
    assert record["title"] == "mae + none, knn" and record["classification"] == {"evaluation": "knn"}
    assert not (folder / "network.safetensors").exists() and (folder / "metrics.json").is_file()
    encoder = trained_network(outputs / "stages" / "pretraining" / record["pretraining"]).build()
    features, cells = [], crops_of(outputs, demo, 1)
    with torch.inference_mode():
        for part in cells:
            images = torch.stack([part[0, row][0] for row in range(len(part))])
            features.append(encoder.forward_features(images)[:, 1:].mean(dim=1).double().numpy())
    mean, deviation = features[0].mean(axis=0), features[0].std(axis=0)
    known, asked = ((values - mean) / deviation for values in features)
    by_hand = KNeighborsClassifier(20, metric="cosine", weights=lambda d: np.exp(-d / 0.07)).fit(
        known, cells[0].targets
    )
    expected = np.zeros((len(asked), 11))
    expected[:, by_hand.classes_] = by_hand.predict_proba(asked)
    np.testing.assert_allclose(predictions.filter(like="p_"), expected, atol=1e-3)


def test_a_linear_probe_tells_what_it_has_chosen_and_the_runs_are_told_apart(outputs, demo):
    trained(outputs, demo, *WHOLE_SLIDES, "evaluation=knn")
    _, record, _ = trained(outputs, demo, *WHOLE_SLIDES, "evaluation=linear_probe")
    told = record["classification"]
    assert told["strength"] in (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0) and 0 < told["validation_pr_auc"] <= 1
    trained(outputs, demo, *WHOLE_SLIDES)
    runs = with_unique_titles(collect_runs(outputs / "runs")[0])
    titles = {run.title.split(" (")[0] for run in runs if run.title.startswith("mae")}
    assert titles == {"mae + none", "mae + none, knn", "mae + none, linear probe"}


def test_a_supervised_network_as_it_starts_can_be_probed(outputs, demo):
    _, record, _ = trained(outputs, demo, "ssl=none", "backbone=resnet18", "fold=1", "evaluation=linear_probe")
    assert record["title"] == "resnet18 (no pretraining), linear probe" and record["pretraining"] is None


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("recipe.finetuning.pool=max", "ssl_method.finetuning_pool=max must be avg or token"),
        ("recipe.finetuning.mixup=-1", "recipe.finetuning.mixup=-1 must be a number, 0 or more"),
        ("recipe.finetuning.cutmix=true", "recipe.finetuning.cutmix=True must be a number"),
        ("recipe.finetuning.ema_decay=1", "recipe.finetuning.ema_decay=1 must be null or lie between 0 and 1"),
        ("recipe.finetuning.checkpoint=first", "recipe.finetuning.checkpoint=first must be last or best"),
        ("recipe.finetuning.validation_share=0.6", "validation_share=0.6 must lie above 0 and up to 0.5"),
        ("recipe.finetuning.drop_path_rate=1", "drop_path_rate=1 must lie in 0 to 1, below 1"),
    ],
)
def test_settings_of_fine_tuning_that_can_not_be_are_one_sentence(tmp_path, demo, override, match):
    with pytest.raises(InputError, match=match):
        trained(tmp_path, demo, *WHOLE_SLIDES, override)
    assert not (tmp_path / "stages").exists()


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["evaluation=knn", "evaluation.classifier.neighbours=0"], "neighbours=0 must be a whole number"),
        (["evaluation=linear_probe", "evaluation.classifier.strengths=[]"], "strengths=.* must be numbers above 0"),
    ],
)
def test_a_classifier_that_can_not_be_is_refused_before_the_pretraining(tmp_path, demo, overrides, match):
    with pytest.raises(InputError, match=match):
        trained(tmp_path, demo, *WHOLE_SLIDES, *overrides)
    assert not list(tmp_path.glob("stages/pretraining/*"))
