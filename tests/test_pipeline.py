"""The whole way from slides to metrics, tiny, and what happens to bad input on the way."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
import wandb
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, average_precision_score, f1_score
from tiny import configure, copied, on, refused
from wandb_offline import logged, offline_runs, table

from activessf import classification, commands, pipeline, preparation, pretraining, selecting
from activessf.data.images import read_image, write_png
from activessf.errors import InputError
from activessf.evaluation.leaks.findings import Findings, examine
from activessf.evaluation.leaks.refusing import TablesRefused
from activessf.evaluation.report import write_report
from activessf.evaluation.runs import collect_runs
from activessf.training import pretraining as pretraining_loop
from activessf.training.resuming import SaveCheckpoints


def naive_metrics(run: Path) -> dict[str, float]:
    table = pd.read_csv(run / "predictions.csv", keep_default_na=False)
    classes = [name[2:] for name in table.columns if name.startswith("p_")]
    present = [name for name in classes if (table["label"] == name).any()]
    return {
        "accuracy": accuracy_score(table["label"], table["predicted"]),
        "f1": f1_score(table["label"], table["predicted"], labels=present, average="macro", zero_division=0),
        "pr_auc": np.mean([average_precision_score(table["label"] == name, table[f"p_{name}"]) for name in present]),
    }


def result(run: Path, stage: str) -> Path:
    """The folder of a stage's result that a run rests on."""
    return run.parents[2] / "stages" / stage / json.loads((run / "run.json").read_text())["stages"][stage]


def test_a_run_folder_holds_what_the_design_says(run):
    table = pd.read_csv(run / "predictions.csv", keep_default_na=False)
    leading = ["image", "x", "y", "width", "height", "group", "fold", "label", "predicted"]
    assert list(table.columns)[:9] == leading
    probabilities = table.filter(like="p_").to_numpy()
    assert probabilities.shape[1] == 11 and np.abs(probabilities.sum(axis=1) - 1).max() < 1e-9
    assert (table["fold"] == 0).all()
    record = json.loads((run / "run.json").read_text())
    assert record["classes"][:2] == sorted(record["classes"])[:2] and record["seed"] == 0
    assert record["versions"]["torch"] and record["pretraining_steps"] == 3
    assert (run / "config.yaml").is_file() and (run / "history" / "metrics.csv").is_file()


def test_metrics_equal_a_recomputation_from_the_predictions(run):
    written = json.loads((run / "metrics.json").read_text())
    for name, value in naive_metrics(run).items():
        assert written[name] == pytest.approx(value, abs=1e-12), name


def test_the_test_cells_are_those_of_the_fold_and_their_images_were_not_pretrained_on(run, outputs):
    record = json.loads((run / "run.json").read_text())
    table = pd.read_csv(run / "predictions.csv", keep_default_na=False)
    (folds,) = (outputs / "stages" / "folds").glob("*/folds.csv")
    expected = pd.read_csv(folds).query("fold == 0")
    assert set(table["image"]) == set(expected["image"]) and len(table) == len(expected)
    selection = result(run, "selection") / "selection.csv"
    chosen = pd.read_csv(selection).query("selected == 1")
    regions = result(run, "regions") / "regions.csv"
    seen = pd.read_csv(regions).set_index("crop").loc[chosen["crop"], "image"]
    assert len(chosen) == record["pretraining_images"] > 0
    assert not set(seen) & set(table["image"])
    candidates = pd.read_csv(regions).set_index("crop").loc[pd.read_csv(selection)["crop"], "image"]
    assert not set(candidates) & set(table["image"])


def test_regions_are_crops_of_the_slide_as_it_is(run, demo):
    folder = result(run, "regions")
    row = pd.read_csv(folder / "regions.csv").iloc[3]
    slide = read_image(demo / row["image"])
    expected = slide[row["y"] : row["y"] + row["height"], row["x"] : row["x"] + row["width"]]
    assert (read_image(folder / row["crop"]) == expected).all()


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_second_run_redoes_nothing(run, outputs, demo, monkeypatch):
    before = contents(outputs)
    for stage in ("cut_cells", "find_regions", "assign_folds"):
        monkeypatch.setattr(preparation, stage, None)  # would fail if called
    monkeypatch.setattr(selecting, "select_regions", None)
    monkeypatch.setattr(pretraining, "pretrain", None)
    monkeypatch.setattr(classification, "finetune", None)
    again = commands.train(configure(outputs, *on(demo), "ssl=mae", "selection=activessf", "fold=0"))
    assert again == run and contents(outputs) == before


def test_the_same_seed_gives_the_same_predictions_elsewhere(run, demo, tmp_path):
    again = commands.train(configure(tmp_path, *on(demo), "ssl=mae", "selection=activessf", "fold=0", "num_workers=1"))
    assert again.parent.name == run.parent.name
    assert (again / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()


@pytest.mark.parametrize(
    "overrides",
    [
        ["selection=none"],
        ["selection=crf"],
        ["selection=random"],
        ["ssl=none"],
        ["ssl=none", "backbone=resnet18"],
        ["ssl=convmae", "selection=none"],
        ["ssl=none", "backbone=convvit_mini"],
    ],
    ids=lambda overrides: "-".join(overrides),
)
def test_every_selection_method_and_supervised_baseline_runs(overrides, outputs, demo, run):
    folder = commands.train(configure(outputs, *on(demo), "fold=1", *overrides))
    for name, value in naive_metrics(folder).items():
        assert json.loads((folder / "metrics.json").read_text())[name] == pytest.approx(value, abs=1e-12)


def test_what_only_watches_or_works_has_no_part_in_a_runs_name(outputs, demo):
    base = pipeline.Pipeline(configure(outputs, *on(demo))).run_name
    for override in (
        "fold=3", "num_workers=2", "logger=wandb", "cache_gib=0", "trainer.accelerator=auto",
        "trainer.log_every_n_steps=7", "selection.features.batch_size=3", "watch.every=3", "watch.probe=false",
    ):  # fmt: skip
        assert pipeline.Pipeline(configure(outputs, *on(demo), override)).run_name == base, override
    for override in (
        "seed=1", "selection.alpha=1", "ssl_method.method.mask_ratio=0.5", "recipe.finetuning.steps=4",
        "ssl.layer_decay=0.5", "trainer.precision=bf16-mixed", "+trainer.gradient_clip_val=1", "regions.min_size=80",
        "loss.label_smoothing=0", "loss=focal", "loss=weighted", "sampler=sqrt", "recipe.finetuning.retrain_head=2",
    ):  # fmt: skip
        assert pipeline.Pipeline(configure(outputs, *on(demo), override)).run_name != base, override


def test_stages_without_a_part_in_a_result_have_none_in_its_name(outputs, demo, tmp_path):
    def name(*overrides: str, data: Path = demo) -> str:
        return pipeline.Pipeline(configure(outputs, *on(data), *overrides)).run_name

    more = copied(demo, tmp_path / "more")
    write_png(np.full((300, 300, 3), 200, np.uint8), more / "slides" / "another.png")
    assert name("ssl=none", data=more) == name("ssl=none", "selection=crf", "regions.min_size=80")
    assert name("ssl=mae", data=more) != name("ssl=mae")
    assert name("selection=none", "regions.min_size=80") == name("selection=none")
    assert name("selection=crf", "selection.features=resnet50") == name("selection=crf")
    assert name("selection=crf", "regions.min_size=80") != name("selection=crf")


def test_newly_known_groups_of_slides_make_another_selection_and_run(outputs, demo, run):
    known, unknown = (pipeline.Pipeline(configure(outputs, *on(demo), "fold=0")) for _ in range(2))
    source = replace(unknown.prepared.source, slide_groups={"slides/unlabeled_0000.jpg": "patient"})
    known.prepared.source = source  # in place of the cached one
    assert known.selecting.selection.name != unknown.selecting.selection.name
    assert known.run_name != unknown.run_name


def test_accumulated_gradients_keep_the_global_batch(tmp_path, demo):
    folder = commands.train(configure(tmp_path, *on(demo), "ssl=none", "fold=0", "+trainer.accumulate_grad_batches=4"))
    assert (folder / "metrics.json").is_file()
    refused(
        tmp_path, *on(demo), "ssl=none", "fold=0", "+trainer.accumulate_grad_batches=5",
        match="accumulate_grad_batches=5 does not divide the batch of 16",
    )  # fmt: skip


def test_the_pretrained_weights_reach_the_classifier(run, outputs, demo, monkeypatch):
    seen = {}

    def look(module, *_):
        seen.update(module.network.state_dict())
        raise InputError("seen enough")

    monkeypatch.setattr(classification, "finetune", look)
    made = configure(outputs, *on(demo), "ssl=mae", "selection=activessf", "fold=0", "recipe.finetuning.steps=5")
    with pytest.raises(InputError, match="seen enough"):
        commands.train(made)
    encoder = load_file(pipeline.Pipeline(made).pretraining.artifact.folder / "encoder.safetensors")
    for name, value in encoder.items():
        if not name.startswith("norm."):
            assert torch.equal(seen[name], value), name
    assert set(seen) - set(encoder) == {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}


def test_a_supervised_run_does_not_depend_on_the_selection(outputs, demo):
    names = {
        pipeline.Pipeline(configure(outputs, *on(demo), "ssl=none", f"selection={name}")).run_name
        for name in ("none", "activessf")
    }
    assert len(names) == 1


def test_the_report_gathers_the_runs(run, outputs, tmp_path, demo):
    other = commands.train(configure(outputs, *on(demo), "ssl=mae", "selection=none", "fold=0"))
    for made in (run, other):  # not all that other tests have made: each takes its time to be drawn
        shutil.copytree(made, tmp_path / "runs" / made.parent.name / made.name)
    (tmp_path / "stages").symlink_to(outputs / "stages")
    write_report(tmp_path / "runs", tmp_path / "report")
    (page,) = (tmp_path / "report").glob("*/index.html")
    text = page.read_text()
    assert "activessf" in text and "HL-MK" in text
    assert "are not on this disk" not in text and '"pictures": [],' not in text
    (overall,) = (tmp_path / "report").rglob("overall.csv")
    assert len(pd.read_csv(overall)) == 2


# Leaks, and what is kept to find them.


def test_a_run_keeps_what_it_was_trained_on(run, outputs, demo):
    evidence = run / "evidence"
    (folds,) = (outputs / "stages" / "folds").glob("*/folds.csv")
    cells = pd.read_csv(folds, keep_default_na=False).query("fold != 0")
    trained = pd.read_csv(evidence / "training_cells.csv", keep_default_na=False)
    expected = cells.groupby(["image", "group", "label"]).size()
    assert trained.set_index(["image", "group", "label"])["cells"].to_dict() == expected.to_dict()
    chosen = pd.read_csv(result(run, "selection") / "selection.csv").query("selected == 1")["crop"]
    regions = result(run, "regions") / "regions.csv"
    seen = pd.read_csv(regions).set_index("crop").loc[chosen, "image"].value_counts().to_dict()
    pretrained = pd.read_csv(evidence / "pretraining_images.csv", keep_default_na=False)
    assert pretrained.set_index("image")["images"].to_dict() == seen
    assert json.loads((evidence / "selection.json").read_text())["fold"] == 0
    owned = pd.read_csv(evidence / "prototypes.csv")
    assert owned["size"].sum() == len(cells)
    assert {name: owned[name].sum() for name in cells["label"].unique()} == cells["label"].value_counts().to_dict()
    assert result(run, "folds") == folds.parent


@pytest.mark.parametrize("overrides", [["selection=none"], ["selection=crf"], ["ssl=none"]], ids=str)
def test_runs_of_every_kind_pass_the_checks(overrides, outputs, demo, run):
    folder = commands.train(configure(outputs, *on(demo), "fold=1", *overrides))
    for made in (folder, run):
        found, _ = collect_runs(made.parent)
        assert examine(found, ()) == Findings((), ())


def test_a_selection_of_all_cells_is_refused_unless_it_is_allowed(demo, tmp_path):
    commands.train(configure(tmp_path, *on(demo), "selection.scope=all", "fold=0"))
    with pytest.raises(TablesRefused, match="No tables are given of"):
        write_report(tmp_path / "runs", tmp_path / "report")
    assert not list((tmp_path / "report").rglob("*.csv"))
    lines = write_report(tmp_path / "runs", tmp_path / "report", allowed={"pool"})
    assert any("by --allow pool" in line and "selection.scope=all" in line for line in lines)


def test_a_slide_that_is_there_twice_is_warned_of_and_its_table_refused(demo, tmp_path):
    def doubled(cells: pd.DataFrame) -> pd.DataFrame:
        groups = sorted(set(cells["group"]))
        cells = cells.assign(split=[groups.index(group) % 5 for group in cells["group"]])
        again = cells[cells["image"] == cells["image"].iloc[0]]
        there = (again["split"].iloc[0] + 1) % 5
        return pd.concat([cells, again.assign(image="slides/again.jpg", group="another patient", split=there)])

    folder = copied(demo, tmp_path / "data", doubled)
    cells = pd.read_csv(folder / "cells.csv", keep_default_na=False)
    slide = Image.open(folder / cells["image"][0])
    slide.convert("RGB").save(folder / "slides" / "again.jpg", quality=80)
    number = int((cells["image"] == "slides/again.jpg").sum())
    fold = int(cells["split"][0])
    with pytest.warns(UserWarning, match=f"{2 * number} labeled cells show the same as a cell of another fold"):
        done = commands.train(configure(tmp_path / "out", *on(folder), "ssl=none", f"fold={fold}"))
    kept = pd.read_csv(done / "evidence" / "duplicates.csv")
    assert sorted(set(kept["image"])) == sorted({cells["image"][0], "slides/again.jpg"}) and len(kept) == 2 * number
    with pytest.raises(TablesRefused) as refusal:
        write_report(tmp_path / "out" / "runs", tmp_path / "report")
    assert any(f"{number} test cells show the same as a training cell" in line for line in refusal.value.lines)
    assert write_report(tmp_path / "out" / "runs", tmp_path / "report", allowed={"duplicates"})


def test_a_slide_that_is_there_twice_stays_in_one_fold_and_the_run_says_so(demo, tmp_path):
    def doubled(cells: pd.DataFrame) -> pd.DataFrame:
        again = cells[cells["image"] == cells["image"].iloc[0]]
        return pd.concat([cells, again.assign(image="slides/again.jpg", group="another patient")])

    folder = copied(demo, tmp_path / "data", doubled)
    cells = pd.read_csv(folder / "cells.csv", keep_default_na=False)
    slide = Image.open(folder / cells["image"][0])
    slide.convert("RGB").save(folder / "slides" / "again.jpg", quality=80)
    done = commands.train(configure(tmp_path / "out", *on(folder), "selection=none", "fold=0"))
    record = json.loads((done / "run.json").read_text())
    assert record["joined_groups"] == [sorted([cells["group"][0], "another patient"])]
    assert record["settings"]["data.join_duplicates"] is True
    sides = [
        pd.read_csv(done / name, keep_default_na=False)["image"]
        for name in ("predictions.csv", "evidence/training_cells.csv")
    ]
    twins = {cells["image"][0], "slides/again.jpg"}
    assert sorted(len(twins & set(side)) for side in sides) == [0, 2]
    seen = set(pd.read_csv(done / "evidence" / "pretraining_images.csv")["image"])
    assert len(twins & seen) == (0 if twins <= set(sides[0]) else 2)
    found, _ = collect_runs(done.parent)
    assert examine(found, ()) == Findings((), ())


def test_an_offline_run_of_wandb_holds_the_numbers_of_metrics_json(demo, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    wandb.teardown()  # W&B reads the environment once a process
    made = [
        commands.train(
            configure(tmp_path, *on(demo), "ssl=none", f"fold={fold}", "logger=wandb", "logger.mode=offline")
        )
        for fold in (0, 1)
    ]
    wandb.teardown()
    runs = offline_runs(tmp_path)
    assert len(runs) == 3 and {kept["group"] for kept in runs.values()} == {made[0].parent.name}
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in made]
    for fold, written in enumerate(metrics):
        (name,) = (name for name in runs if name.endswith(f"fold {fold}"))
        found = logged(runs[name])
        numbers = {key: value for key, value in written.items() if isinstance(value, int | float)}
        assert {key: found[f"test/{key}"] for key in numbers} == numbers and "pr_auc/G-MK" in numbers
        assert len(table(runs[name], "test/predictions")) == written["cells"]
    (summary,) = (kept for kept in runs.values() if kept["kind"] == "summary")
    assert summary["summary"]["mean/pr_auc"] == pytest.approx((metrics[0]["pr_auc"] + metrics[1]["pr_auc"]) / 2)
    assert [row["pr_auc"] for row in table(summary, "fold_table")][:2] == [written["pr_auc"] for written in metrics]


# Bad input: one clear sentence, nothing lost.


def test_no_region_found_at_all(outputs, demo):
    refused(
        outputs, *on(demo), "fold=0", "regions.min_size=400", match="Stage 1 found no region.*selection=none"
    )  # fmt: skip


def test_nothing_selected(outputs, demo):
    refused(
        outputs, *on(demo), "selection.bounds=fixed", "selection.lower=0", "selection.upper=0.001",
        match="None of the .* candidate regions is selected",
    )  # fmt: skip


def test_more_prototypes_than_cells(outputs, demo):
    refused(outputs, *on(demo), "selection.num_prototypes=5000", match="5000 prototypes can't be made of")


def test_a_fold_that_there_is_not(outputs, demo):
    refused(outputs, *on(demo), "fold=4", "data.num_folds=3", match="fold=4 is none of the 3 folds")


def test_a_hub_that_can_not_be_reached_is_said_before_anything_runs(tmp_path, demo):
    refused(
        tmp_path, *on(demo), "selection.features=resnet50",
        match="can't be reached; use selection.features.checkpoint=PATH, or selection.features=efficientnet_lite0",
    )  # fmt: skip
    assert not (tmp_path / "stages").exists()


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("data.num_folds=1", "data.num_folds=1 must be 2 to 5"),
        ("data.num_folds=10", "data.num_folds=10 must be 2 to 5"),
        ("seed=-1", "seed=-1 must be a whole number"),
        ("seed=null", "seed=None must be"),
        ("num_workers=abc", "num_workers=abc must be"),
        ("recipe.image_size=50", "recipe.image_size=50 must be a multiple of recipe.patch_size=8"),
        ("recipe.finetuning.batch_size=0", "recipe.finetuning.batch_size=0 must be"),
        ("recipe.finetuning.base_lr=0", "recipe.finetuning.base_lr=0 must be a number above 0"),
        ("ssl.layer_decay=1.5", r"ssl_method.layer_decay=1.5 must lie in \(0, 1\]"),
        ("selection.alpha=high", "selection.alpha=high must be"),
        ("selection.features.checkpoint=/nope.pth", "The checkpoint /nope.pth is no file"),
        ("backbone.pretrained=true", "backbone.pretrained=true has no effect with ssl=mae"),
        ("watch.every=-1", "watch.every=-1 must be a number of epochs, 0 or more"),
        ("watch.steps=0", "watch.steps=0 must be null or a whole number, 1 or more"),
        ("watch.num_images=2.5", "watch.num_images=2.5 must be a whole number, 0 or more"),
        ("watch.probe=maybe", "watch.probe=maybe must be true or false"),
        ("watch.probe_cells=1", "watch.probe_cells=1 must be a whole number, 2 or more"),
        ("watch.held_out=0.7", "watch.held_out=0.7 must lie above 0 and up to 0.5"),
        ("watch.knn_neighbours=0", "watch.knn_neighbours=0 must be a whole number, 1 or more"),
        ("watch.knn_temperature=0", "watch.knn_temperature=0 must be a number above 0"),
        ("watch.collapse_below=2", "watch.collapse_below=2 must lie in 0 to 1"),
        ("recipe.pretraining.view.scale=[0.2,3]", "view.scale=.* must be two shares"),
    ],
)
def test_settings_that_can_not_be_are_refused_before_anything_runs(tmp_path, demo, override, match):
    refused(tmp_path, *on(demo), override, match=match)
    assert not (tmp_path / "stages").exists()


def test_a_class_smaller_than_the_folds_is_named_and_stays_in_the_table(demo, tmp_path):
    def thin(cells: pd.DataFrame) -> pd.DataFrame:
        rare = cells[cells["label"] == "HL-MK"].head(2)
        return pd.concat([cells[cells["label"].isin(["G-MK", "P-MK"])], rare])

    folder = copied(demo, tmp_path / "data", thin)
    with pytest.warns(UserWarning, match="'HL-MK' \\(2 cells\\) has no test cell in fold"):
        commands.train(configure(tmp_path / "out", *on(folder), "ssl=none", "fold=0"))
    for fold in range(1, 5):
        commands.train(configure(tmp_path / "out", *on(folder), "ssl=none", f"fold={fold}"))
    supports = [
        json.loads(path.read_text())["support/HL-MK"] for path in (tmp_path / "out" / "runs").rglob("metrics.json")
    ]
    assert sum(supports) == 2
    write_report(tmp_path / "out" / "runs", tmp_path / "report")
    (table,) = (tmp_path / "report").rglob("per_class.csv")
    assert "HL-MK" in table.read_text()


def test_a_diverging_training_stops_and_publishes_nothing(demo, tmp_path):
    refused(
        tmp_path, *on(demo), "ssl=none", "fold=0", "recipe.finetuning.base_lr=1e30", "recipe.finetuning.steps=20",
        match="Fine-tuning: the loss is (nan|inf) at optimiser step",
    )  # fmt: skip
    assert not list((tmp_path / "runs").rglob("metrics.json"))
    (kept,) = (tmp_path / "failed").glob("*/fold_0/fine-tuning_step_*.safetensors")
    assert load_file(kept)["views"].shape == (16, 3, 48, 48)


@pytest.mark.parametrize("stage", ["pretraining", "finetuning"])
def test_a_run_that_was_stopped_in_the_middle_of_a_training_ends_as_if_it_had_not_been(run, demo, tmp_path, stage):
    config = configure(tmp_path, *on(demo), "ssl=mae", "selection=activessf", "fold=0", "checkpoint_minutes=0")
    steps = iter(range(1000))

    begin = SaveCheckpoints.on_train_batch_start

    def stop(self, *batch):
        begin(self, *batch)
        if next(steps) == {"pretraining": 2, "finetuning": 3 + 2}[stage]:  # of three steps each
            raise RuntimeError("stopped")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(SaveCheckpoints, "on_train_batch_start", stop)
        commands.train(config)
    assert len(list((tmp_path / "checkpoints").glob("*/*.ckpt"))) == 2
    again = commands.train(config)
    assert (again / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()
    assert len(pd.read_csv(again / "history" / "metrics.csv")) == len(pd.read_csv(run / "history" / "metrics.csv"))
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_training_whose_result_was_not_published_is_not_done_again(run, demo, tmp_path, monkeypatch):
    config = configure(tmp_path, *on(demo), "ssl=mae", "selection=activessf", "fold=0", "checkpoint_minutes=0")
    begin, steps = SaveCheckpoints.on_train_batch_start, []

    def counted(self, *batch):
        steps[-1] += 1
        begin(self, *batch)

    monkeypatch.setattr(SaveCheckpoints, "on_train_batch_start", counted)
    for module, name in ((pretraining_loop, "save_network"), (pipeline, "fold_metrics")):
        steps.append(0)
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="no space left"):
            patch.setattr(module, name, Mock(side_effect=RuntimeError("no space left")))
            commands.train(config)
    steps.append(0)
    again = commands.train(config)
    assert steps == [3, 1 + 3, 1]  # the last of three steps has no checkpoint
    assert (again / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()
    assert not list((tmp_path / "checkpoints").iterdir())


# Long tails


def test_losses_and_samplers_change_the_runs_key_and_no_other(outputs, demo):
    usual = pipeline.Pipeline(configure(outputs, *on(demo), "fold=0"))
    settings = usual.run_inputs["settings"]
    assert "sampler" not in settings and "retrain_head" not in settings["recipe"]["finetuning"]
    assert settings["loss"] == {"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.1}
    names = {usual.run_name}
    for overrides in (
        ["loss=balanced_softmax"], ["loss=logit_adjusted"], ["loss=logit_adjusted", "loss.tau=2"], ["loss=ldam"],
        ["loss=ldam", "loss.normalised_classifier=false"],
        ["sampler=class_balanced"], ["sampler=sqrt"], ["sampler=sqrt", "sampler.exponent=0.4"],
        ["sampler=effective_number"], ["recipe.finetuning.retrain_head=1"], ["recipe.finetuning.retrain_head=2"],
    ):  # fmt: skip
        made = pipeline.Pipeline(configure(outputs, *on(demo), "fold=0", *overrides))
        assert made.pretraining.artifact.name == usual.pretraining.artifact.name
        assert made.selecting.selection.name == usual.selecting.selection.name
        names.add(made.run_name)
    assert len(names) == 12


def test_an_encoder_that_stays_as_it_is_has_neither_loss_nor_sampler_nor_head(outputs, demo):
    names = {
        pipeline.Pipeline(configure(outputs, *on(demo), "evaluation=linear_probe", *overrides)).run_name
        for overrides in ([], ["loss=focal"], ["sampler=sqrt"], ["recipe.finetuning.retrain_head=2"])
    }
    assert len(names) == 1
    made = pipeline.Pipeline(
        configure(outputs, *on(demo), "evaluation=linear_probe", "recipe.finetuning.retrain_head=2")
    )
    assert made.finetuned is None


@pytest.mark.parametrize(
    "overrides",
    [
        *(["loss=weighted"], ["loss=weighted", "loss.exponent=null", "loss.beta=0.99"], ["loss=focal"]),
        *(["loss=balanced_softmax"], ["loss=logit_adjusted"], ["loss=ldam", "loss.reweight_from=0.5"]),
        *(["sampler=class_balanced"], ["sampler=sqrt"], ["sampler=effective_number"]),
        ["loss=balanced_softmax", "sampler=sqrt", "recipe.finetuning.retrain_head=1"],
        ["loss=ldam", "sampler=sqrt", "recipe.finetuning.mixup=0.8", "recipe.finetuning.cutmix=1"],
        ["recipe.finetuning.checkpoint=best", "recipe.finetuning.ema_decay=0.9", "recipe.finetuning.retrain_head=1"],
    ],
    ids=lambda overrides: "-".join(overrides),
)
def test_every_loss_and_sampler_runs(overrides, outputs, demo):
    folder = commands.train(configure(outputs, *on(demo), "ssl=none", "fold=1", *overrides))
    for name, value in naive_metrics(folder).items():
        assert json.loads((folder / "metrics.json").read_text())[name] == pytest.approx(value, abs=1e-12)
    losses = pd.read_csv(folder / "history" / "metrics.csv")["train/loss"].dropna()
    assert len(losses) and np.isfinite(losses).all()


def finetuned_with(monkeypatch, config):
    """The module and the images that fine-tuning is given."""
    seen = []

    def look(module, training, *_):
        seen.extend([module, training])
        raise InputError("seen enough")

    monkeypatch.setattr(classification, "finetune", look)
    with pytest.raises(InputError, match="seen enough"):
        commands.train(config)
    return seen


def test_losses_and_samplers_know_the_training_cells_of_the_fold_alone(outputs, demo, monkeypatch):
    settings = [*on(demo), "ssl=none", "fold=2", "loss=logit_adjusted", "sampler=class_balanced"]
    config = configure(outputs, *settings)
    module, training = finetuned_with(monkeypatch, config)
    prepared = preparation.Preparation(config)
    table, classes = prepared.labeled, prepared.source.classes
    counts = table[table["fold"] != 2]["label"].value_counts().reindex(list(classes), fill_value=0).to_numpy()
    everywhere = table["label"].value_counts().reindex(list(classes), fill_value=0).to_numpy()
    assert (counts != everywhere).any()
    seen = np.where(counts, counts, counts.max())
    assert module.loss.adjustment.numpy() == pytest.approx(np.log(seen / counts.sum()), abs=1e-5)
    drawn = np.bincount(training.targets, training.weights, minlength=len(classes)) / training.weights.sum()
    assert drawn == pytest.approx((counts > 0) / (counts > 0).sum())


def without_rarest(cells):
    """Of the rarest class the cells of one image alone are left: some fold trains without it."""
    rare = cells["label"].value_counts().index[-1]
    return cells[(cells["label"] != rare) | (cells["image"] == cells[cells["label"] == rare]["image"].iloc[0])]


@pytest.mark.parametrize("overrides", [["loss=weighted"], ["loss=balanced_softmax"], ["loss=ldam", "sampler=sqrt"]])
def test_a_class_without_a_training_cell_gives_numbers_and_is_named(demo, tmp_path, overrides, caplog):
    data = copied(demo, tmp_path / "data", without_rarest)
    base = [*on(data), "ssl=none", *overrides]
    with pytest.warns(UserWarning, match="has no test cell"):
        table = preparation.Preparation(configure(tmp_path, *base)).labeled
    (fold,) = set(table.loc[table["label"] == table["label"].value_counts().index[-1], "fold"])
    folder = commands.train(configure(tmp_path, *base, f"fold={fold}"))
    assert "No training cell of" in caplog.text
    probabilities = pd.read_csv(folder / "predictions.csv").filter(like="p_").to_numpy()
    assert np.isfinite(probabilities).all()


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["loss=focal", "loss.gamma=-1"], r"loss\.gamma=-1 must be a number, 0 or more"),
        (["loss=ldam", "loss.scale=0"], r"loss\.scale=0 must be above 0"),
        (["loss=ldam", "loss.normalised_classifier=3"], r"normalised_classifier=3 must be true or false"),
        (["loss=weighted", "loss.beta=0.9"], r"loss\.exponent=1\.0 and loss\.beta=0\.9 exclude each other"),
        (["sampler=sqrt", "sampler.exponent=2"], r"sampler\.exponent=2 must be a number, 0 to 1"),
        (["sampler=sqrt", "sampler.beta=0.9"], r"sampler\.exponent=0\.5 and sampler\.beta=0\.9 exclude each other"),
        (["recipe.finetuning.retrain_head=0"], r"recipe\.finetuning\.retrain_head=0 must be null or a whole number"),
    ],
)
def test_losses_and_samplers_that_can_not_be_are_refused_before_anything_runs(demo, tmp_path, overrides, match):
    refused(tmp_path / "out", *on(demo), *overrides, match=match)
    assert not (tmp_path / "out" / "stages").exists()


def test_a_retrained_head_stands_on_the_run_without_it(outputs, demo, monkeypatch):
    base = [*on(demo), "ssl=none", "fold=1", "recipe.finetuning.steps=4"]
    own = pipeline.Pipeline(configure(outputs, *base))
    assert not own.run.ready
    retrained = commands.train(configure(outputs, *base, "recipe.finetuning.retrain_head=2"))
    assert own.run.ready
    record = json.loads((retrained / "run.json").read_text())
    assert (
        record["classification"]["head_of"] == own.run_name
        and record["settings"]["recipe.finetuning.retrain_head"] == 2
    )
    before, after = (load_file(folder / "network.safetensors") for folder in (own.run.folder, retrained))
    assert {name for name in after if not torch.equal(before[name], after[name])} == {"head.weight", "head.bias"}
    monkeypatch.setattr(classification, "finetune", None)  # would fail if called
    again = commands.train(configure(outputs, *base, "recipe.finetuning.retrain_head=1"))
    assert again != retrained and (again / "metrics.json").is_file()


def test_a_retraining_that_was_stopped_ends_as_if_it_had_not_been(outputs, demo, tmp_path):
    settings = [*on(demo), "ssl=none", "fold=1", "recipe.finetuning.retrain_head=2", "checkpoint_minutes=0"]
    expected = commands.train(configure(outputs, *settings))
    config, begin, steps = configure(tmp_path, *settings), SaveCheckpoints.on_train_batch_start, iter(range(1000))

    def stop(self, *batch):
        begin(self, *batch)
        if next(steps) == 3 + 4:  # three of fine-tuning
            raise RuntimeError("stopped")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(SaveCheckpoints, "on_train_batch_start", stop)
        commands.train(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classification, "finetune", None)
        again = commands.train(config)
    for file in ("predictions.csv", "network.safetensors"):
        assert (again / file).read_bytes() == (expected / file).read_bytes()
    assert not list((tmp_path / "checkpoints").iterdir())
