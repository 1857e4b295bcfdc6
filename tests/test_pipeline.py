"""The whole way from slides to metrics, tiny, and what happens to bad input on the way."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import tifffile
import timm
import torch
import wandb
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, average_precision_score, f1_score
from tiny import configure, on
from wandb_offline import logged, offline_runs, table

from activessf import classification, pipeline, preparation, selecting
from activessf.data.images import read_image, write_png
from activessf.errors import InputError
from activessf.evaluation.leaks.findings import Findings, examine
from activessf.evaluation.leaks.refusing import TablesRefused
from activessf.evaluation.report import write_report
from activessf.evaluation.runs import collect_runs
from activessf.selection.run_networks import FinetunedNetwork
from activessf.training import pretraining
from activessf.training.resuming import SaveCheckpoints
from activessf.trainings import make_optimization


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="session")
def run(demo: Path, outputs: Path) -> Path:
    return pipeline.train(configure(outputs, *on(demo), "ssl=mae", "selection=activessf", "fold=0"))


def naive_metrics(run: Path) -> dict[str, float]:
    table = pd.read_csv(run / "predictions.csv", keep_default_na=False)
    classes = [name[2:] for name in table.columns if name.startswith("p_")]
    present = [name for name in classes if (table["label"] == name).any()]
    return {
        "accuracy": accuracy_score(table["label"], table["predicted"]),
        "f1": f1_score(table["label"], table["predicted"], labels=present, average="macro", zero_division=0),
        "pr_auc": np.mean([average_precision_score(table["label"] == name, table[f"p_{name}"]) for name in present]),
    }


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


def test_a_run_records_the_stage_results_that_it_rests_on(run, outputs, demo):
    record = json.loads((run / "run.json").read_text())
    assert set(record["stages"]) == {"cells", "folds", "duplicates", "regions", "selection", "pretraining"}
    for stage, name in record["stages"].items():
        inputs = json.loads((outputs / "stages" / stage / name / "inputs.json").read_text())
        assert stage != "selection" or (inputs["fold"], inputs["regions"]) == (0, record["stages"]["regions"])
    assert record["stages"]["pretraining"] == record["pretraining"] and record["device"].startswith("CPU with ")
    assert record["folds_given"] is bool((pd.read_csv(demo / "cells.csv").get("split", pd.Series()).notna()).any())
    supervised = pipeline.train(configure(outputs, *on(demo), "ssl=none", "fold=0"))
    assert set(json.loads((supervised / "run.json").read_text())["stages"]) == {"cells", "folds", "duplicates"}


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
    (selection,) = (outputs / "stages" / "selection").glob("activessf-*/selection.csv")
    chosen = pd.read_csv(selection).query("selected == 1")
    (regions,) = (outputs / "stages" / "regions").glob("*/regions.csv")
    seen = pd.read_csv(regions).set_index("crop").loc[chosen["crop"], "image"]
    assert len(chosen) == record["pretraining_images"] > 0
    assert not set(seen) & set(table["image"])
    candidates = pd.read_csv(regions).set_index("crop").loc[pd.read_csv(selection)["crop"], "image"]
    assert not set(candidates) & set(table["image"])


def test_regions_are_crops_of_the_slide_as_it_is(run, outputs, demo):
    (folder,) = (outputs / "stages" / "regions").glob("*/regions.csv")
    row = pd.read_csv(folder).iloc[3]
    slide = read_image(demo / row["image"])
    expected = slide[row["y"] : row["y"] + row["height"], row["x"] : row["x"] + row["width"]]
    assert (read_image(folder.parent / row["crop"]) == expected).all()


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
    monkeypatch.setattr(pipeline, "pretrain", None)
    monkeypatch.setattr(classification, "finetune", None)
    again = pipeline.train(configure(outputs, *on(demo), "ssl=mae", "selection=activessf", "fold=0"))
    assert again == run and contents(outputs) == before


def test_the_same_seed_gives_the_same_predictions_elsewhere(run, demo, tmp_path):
    again = pipeline.train(configure(tmp_path, *on(demo), "ssl=mae", "selection=activessf", "fold=0", "num_workers=1"))
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
    folder = pipeline.train(configure(outputs, *on(demo), "fold=1", *overrides))
    for name, value in naive_metrics(folder).items():
        assert json.loads((folder / "metrics.json").read_text())[name] == pytest.approx(value, abs=1e-12)


def test_random_keeps_as_many_as_activessf(outputs, demo, run):
    kept = {}
    for name in ("activessf", "random"):
        folder = pipeline.select(configure(outputs, *on(demo), f"selection={name}", "fold=2"))
        kept[name] = pd.read_csv(folder / "selection.csv")["selected"].sum()
    assert kept["random"] == kept["activessf"] > 0


def test_alphas_that_keep_the_same_regions_share_their_pretraining(outputs, demo, run):
    first = pipeline.Pipeline(configure(outputs, *on(demo), "selection.alpha=0", "fold=2"))
    # At alpha = 0 every threshold is UB, and so it is with LB = UB.
    second = pipeline.Pipeline(
        configure(
            outputs, *on(demo), "fold=2", "selection.alpha=3", "selection.bounds=quantile",
            "selection.lower_quantile=1", "selection.upper_quantile=1",
        )
    )  # fmt: skip
    assert first.selecting.selection.name != second.selecting.selection.name
    assert first.selecting.pretraining_images() == second.selecting.pretraining_images()
    assert first.pretraining.name == second.pretraining.name


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


def test_layer_decay_and_accumulation_reach_the_training(outputs, demo):
    made = pipeline.Pipeline(configure(outputs, *on(demo), "ssl.layer_decay=0.5"))
    images = made.selecting.pretraining_images()
    assert made.pretraining.inputs["method"]["layer_decay"] == 0.5
    method = made.method()
    ssl = made.config.ssl_method
    method.optimization = make_optimization(made.config.recipe.pretraining, len(images), ssl.betas, ssl.layer_decay)
    optimizer = method.configure_optimizers()["optimizer"]
    rates = {id(value): group["initial_lr"] for group in optimizer.param_groups for value in group["params"]}
    # four blocks: the patch embedding lies five layers below the top
    assert rates[id(method.encoder.patch_embed.proj.weight)] == pytest.approx(
        0.5**5 * rates[id(method.decoder.mask_token)]
    )


def test_accumulated_gradients_keep_the_global_batch(tmp_path, demo):
    folder = pipeline.train(configure(tmp_path, *on(demo), "ssl=none", "fold=0", "+trainer.accumulate_grad_batches=4"))
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
        pipeline.train(made)
    encoder = load_file(pipeline.Pipeline(made).pretraining.folder / "encoder.safetensors")
    for name, value in encoder.items():
        if not name.startswith("norm."):
            assert torch.equal(seen[name], value), name
    assert set(seen) - set(encoder) == {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}


def test_who_watches_shares_the_pretraining_with_who_does_not(run, outputs, demo):
    usual, other = (
        pipeline.Pipeline(configure(outputs, *on(demo), "fold=0", *overrides)).pretraining
        for overrides in ([], ["watch.every=0", "watch.knn_neighbours=3"])
    )
    assert usual.name == other.name and usual.ready


def test_a_pretraining_folder_shows_that_it_learned(run, outputs):
    record = json.loads((run / "run.json").read_text())
    folder = outputs / "stages" / "pretraining" / record["pretraining"]
    assert pd.read_csv(folder / "probe.csv")["step"].tolist() == [0, 3]
    assert json.loads((folder / "summary.json").read_text())["probe"]["fold"] == 0
    assert {path.name for path in (folder / "reconstructions").iterdir()} == {"step_000000.png", "step_000003.png"}
    assert (folder / "curves.png").is_file() and (folder / "history" / "metrics.csv").is_file()


@pytest.mark.parametrize("overrides", [[], ["selection.scope=all"], ["selection=none"]])
def test_no_cell_of_the_tested_fold_is_watched(outputs, demo, monkeypatch, overrides):
    seen = {}

    def look(method, images, view, runner, name, folder, checkpoints, watched, compiled):
        seen["cells"] = watched.cells
        raise InputError("seen enough")

    monkeypatch.setattr(pipeline, "pretrain", look)
    made = pipeline.Pipeline(configure(outputs, *on(demo), "fold=3", "recipe.pretraining.steps=7", *overrides))
    with pytest.raises(InputError, match="seen enough"):
        made.pretraining.obtain()
    cells, table = seen["cells"], made.prepared.labeled
    crops = [path.relative_to(made.prepared.cells.folder).as_posix() for path in cells.images.paths]
    known = table.set_index("crop").loc[crops]
    assert set(crops) == set(table.loc[table["fold"] != 3, "crop"]) and not (known["fold"] == 3).any()
    assert list(cells.groups) == known["group"].tolist() and cells.fold == 3
    assert [made.prepared.source.classes[target] for target in cells.images.targets] == known["label"].tolist()


def test_a_supervised_run_does_not_depend_on_the_selection(outputs, demo):
    names = {
        pipeline.Pipeline(configure(outputs, *on(demo), "ssl=none", f"selection={name}")).run_name
        for name in ("none", "activessf")
    }
    assert len(names) == 1


def test_the_report_gathers_the_runs(run, outputs, tmp_path, demo):
    other = pipeline.train(configure(outputs, *on(demo), "ssl=mae", "selection=none", "fold=0"))
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
    stages = json.loads((run / "run.json").read_text())["stages"]
    selection = outputs / "stages" / "selection" / stages["selection"] / "selection.csv"
    chosen = pd.read_csv(selection).query("selected == 1")["crop"]
    (regions,) = (outputs / "stages" / "regions").glob("*/regions.csv")
    seen = pd.read_csv(regions).set_index("crop").loc[chosen, "image"].value_counts().to_dict()
    pretrained = pd.read_csv(evidence / "pretraining_images.csv", keep_default_na=False)
    assert pretrained.set_index("image")["images"].to_dict() == seen
    assert json.loads((evidence / "selection.json").read_text())["fold"] == 0
    owned = pd.read_csv(evidence / "prototypes.csv")
    assert owned["size"].sum() == len(cells)
    assert {name: owned[name].sum() for name in cells["label"].unique()} == cells["label"].value_counts().to_dict()
    assert stages["folds"] == folds.parent.name


@pytest.mark.parametrize("overrides", [["selection=none"], ["selection=crf"], ["ssl=none"]], ids=str)
def test_runs_of_every_kind_pass_the_checks(overrides, outputs, demo, run):
    folder = pipeline.train(configure(outputs, *on(demo), "fold=1", *overrides))
    for made in (folder, run):
        found, _ = collect_runs(made.parent)
        assert examine(found, ()) == Findings((), ())


def test_a_selection_of_all_cells_is_refused_unless_it_is_allowed(demo, tmp_path):
    pipeline.train(configure(tmp_path, *on(demo), "selection.scope=all", "fold=0"))
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
        done = pipeline.train(configure(tmp_path / "out", *on(folder), "ssl=none", f"fold={fold}"))
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
    done = pipeline.train(configure(tmp_path / "out", *on(folder), "selection=none", "fold=0"))
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
        pipeline.train(
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


def refused(output: Path, *overrides: str, match: str, stage=pipeline.train) -> None:
    with pytest.raises(InputError, match=match):
        stage(configure(output, *overrides))


def copied(demo: Path, folder: Path, keep=lambda cells: cells) -> Path:
    (folder / "slides").mkdir(parents=True)
    for slide in (demo / "slides").iterdir():
        (folder / "slides" / slide.name).symlink_to(slide)
    keep(pd.read_csv(demo / "cells.csv", keep_default_na=False)).to_csv(folder / "cells.csv", index=False)
    return folder


def test_no_region_found_at_all(outputs, demo):
    refused(
        outputs, *on(demo), "fold=0", "regions.min_size=400", match="Stage 1 found no region.*selection=none"
    )  # fmt: skip


def test_preprocess_says_how_many_regions_even_if_none(outputs, demo):
    folder = pipeline.preprocess(configure(outputs, *on(demo), "regions.min_size=400"))
    assert pd.read_csv(folder / "regions.csv").empty


def test_nothing_selected(outputs, demo):
    refused(
        outputs, *on(demo), "selection.bounds=fixed", "selection.lower=0", "selection.upper=0.001",
        match="None of the .* candidate regions is selected",
    )  # fmt: skip


def test_more_prototypes_than_cells(outputs, demo):
    refused(outputs, *on(demo), "selection.num_prototypes=5000", match="5000 prototypes can't be made of")


def test_a_fold_that_there_is_not(outputs, demo):
    refused(outputs, *on(demo), "fold=4", "data.num_folds=3", match="fold=4 is none of the 3 folds")


def test_a_backbone_that_does_not_fit_is_refused_before_anything_runs(tmp_path, demo):
    refused(tmp_path, *on(demo), "ssl=mae", "backbone=resnet18", match="ssl=mae needs a Vision Transformer")
    refused(tmp_path, *on(demo), "ssl=convmae", "backbone=vit_mini", match="ssl=convmae needs a ConvViT")
    assert not (tmp_path / "stages").exists()


def test_pretrained_weights_of_a_network_that_has_none_are_refused_before_anything_runs(tmp_path, demo):
    refused(
        tmp_path, *on(demo), "ssl=none", "backbone=convvit_mini", "backbone.pretrained=true",
        match="backbone.pretrained=true: there are no pretrained weights of ConvViT",
    )  # fmt: skip
    assert not (tmp_path / "stages").exists()


def test_mixmim_runs_through_and_takes_even_batches_only(outputs, demo):
    chosen = (*on(demo), "ssl=mixmim", "selection=activessf", "fold=0")
    record = json.loads((pipeline.train(configure(outputs, *chosen)) / "run.json").read_text())
    assert record["choices"]["backbone"] == "mixmim_mini" and record["pretraining_steps"] == 3
    for batch in (1, 7):
        match = f"in pairs, but a batch has {batch}; choose an even recipe.pretraining.batch_size"
        refused(outputs, *chosen, f"recipe.pretraining.batch_size={batch}", match=match)
    refused(outputs, *chosen, "+trainer.accumulate_grad_batches=8", match="in pairs, but a batch has 1")


def test_weights_that_are_not_to_be_had_are_refused(tmp_path, demo):
    chosen = ("ssl=none", "backbone=mixmim_mini", "backbone.pretrained=true")
    refused(tmp_path, *on(demo), *chosen, match="timm's hub has no weights of MixMIM")


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


def test_selecting_with_selection_none_is_refused(outputs, demo):
    refused(outputs, *on(demo), "selection=none", match="selection=none selects nothing", stage=pipeline.select)


def test_corrupt_and_truncated_slides_stand_in_failures_and_the_rest_is_used(demo, tmp_path):
    folder = copied(demo, tmp_path / "data")
    whole = sorted((demo / "slides").glob("unlabeled_*"))[0].read_bytes()
    (folder / "slides" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "slides" / "corrupt.png").write_bytes(b"no image")
    regions = pipeline.preprocess(configure(tmp_path / "out", *on(folder)))
    failures = pd.read_csv(regions / "failures.csv")
    assert failures["image"].tolist() == ["slides/corrupt.png", "slides/truncated.jpg"]
    assert json.loads((regions / "summary.json").read_text())["images"] == 20
    assert not pd.read_csv(regions / "regions.csv").empty
    # Pretraining on whole slides leaves the unreadable ones out as well.
    done = pipeline.train(configure(tmp_path / "out", *on(folder), "selection=none", "fold=0"))
    assert (done / "metrics.json").is_file()


def test_a_class_smaller_than_the_folds_is_named_and_stays_in_the_table(demo, tmp_path):
    def thin(cells: pd.DataFrame) -> pd.DataFrame:
        rare = cells[cells["label"] == "HL-MK"].head(2)
        return pd.concat([cells[cells["label"].isin(["G-MK", "P-MK"])], rare])

    folder = copied(demo, tmp_path / "data", thin)
    with pytest.warns(UserWarning, match="'HL-MK' \\(2 cells\\) has no test cell in fold"):
        pipeline.train(configure(tmp_path / "out", *on(folder), "ssl=none", "fold=0"))
    for fold in range(1, 5):
        pipeline.train(configure(tmp_path / "out", *on(folder), "ssl=none", f"fold={fold}"))
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


def test_slides_smaller_than_a_cell_are_only_slides_without_regions(demo, tmp_path):
    folder = copied(demo, tmp_path / "data")
    write_png(np.full((5, 4, 3), 200, np.uint8), folder / "slides" / "tiny.png")
    regions = pipeline.preprocess(configure(tmp_path / "out", *on(folder)))
    assert pd.read_csv(regions / "failures.csv").empty


def test_preprocess_ends_with_a_page_and_makes_it_once(outputs, demo, capsys):
    config = configure(outputs, *on(demo), "quality.num_fields=2", "quality.num_crops=5", "seed=3")
    folder = pipeline.preprocess(config)
    pages = list((outputs / "stages" / "quality").glob("manifest-*/index.html"))
    assert any(f"{len(pd.read_csv(folder / 'regions.csv')):,} regions" in page.read_text() for page in pages)
    written = {page: page.stat().st_mtime_ns for page in pages}
    pipeline.preprocess(config)
    assert {page: page.stat().st_mtime_ns for page in (outputs / "stages" / "quality").glob("*/index.html")} == written


def test_shards_work_through_their_shares_and_the_same_command_joins_them(demo, tmp_path):
    whole = pipeline.preprocess(configure(tmp_path / "whole", *on(demo), "quality.num_fields=0"))
    for shard in range(3):
        pipeline.preprocess(configure(tmp_path / "parts", *on(demo), f"shard={shard}", "num_shards=3"))
        assert not (tmp_path / "parts" / "stages" / "regions").exists()
    joined = pipeline.preprocess(configure(tmp_path / "parts", *on(demo), "quality.num_fields=0"))
    assert joined.name == whole.name
    for name in ("regions", "rejected", "slides", "failures"):
        assert (joined / f"{name}.csv").read_bytes() == (whole / f"{name}.csv").read_bytes()


def test_a_shard_that_there_is_not(outputs, demo):
    for wrong in (["shard=3", "num_shards=3"], ["shard=-1"], ["num_shards=0"], ["shard=a"]):
        with pytest.raises(InputError, match="shard"):
            pipeline.preprocess(configure(outputs, *on(demo), *wrong))


def test_a_slide_with_settings_of_its_own_has_other_regions(demo, tmp_path):
    name = sorted(path.name for path in (demo / "slides").iterdir())[0]
    table = tmp_path / "own.csv"
    table.write_text(f"image,min_size\nslides/{name},400\n")
    overrides = f"slide_overrides={table}"
    usual = pipeline.preprocess(configure(tmp_path, *on(demo), "quality.num_fields=0"))
    other = pipeline.preprocess(configure(tmp_path, *on(demo), "quality.num_fields=0", overrides))
    found = {folder: pd.read_csv(folder / "regions.csv").groupby("image").size().to_dict() for folder in (usual, other)}
    assert f"slides/{name}" in found[usual] and f"slides/{name}" not in found[other]
    found[usual].pop(f"slides/{name}")
    assert found[usual] == found[other]


def test_calibration_writes_a_preset_for_the_next_command(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "CONF", tmp_path)
    config = configure(tmp_path, *on(demo), "calibrate=own_stain", "calibration.num_fields=4")
    path = pipeline.preprocess(config)
    assert path == tmp_path / "regions" / "own_stain.yaml"
    assert (tmp_path / "calibration" / "own_stain" / "check.png").is_file()
    figures = json.loads((tmp_path / "calibration" / "own_stain" / "calibration.json").read_text())["figures"]
    # The other purple cells of the slides have no label, so that precision says nothing here.
    assert figures["check"]["after"]["recall"] >= 0.8
    with pytest.raises(InputError, match="There is a preset own_stain already"):
        pipeline.preprocess(config)


def test_slides_without_anything_but_a_whole_slide_give_regions_and_none_to_see_whole(demo, tmp_path):

    image = read_image(sorted((demo / "slides").iterdir())[0])
    root = tmp_path / "data"
    (root / "slides").mkdir(parents=True)
    cells = pd.read_csv(demo / "cells.csv", keep_default_na=False)
    for name in set(cells["image"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(demo / name, root / name)
    (root / "whole").mkdir()
    tifffile.imwrite(root / "whole/a.svs", image, tile=(128, 128), photometric="rgb")
    cells.to_csv(root / "cells.csv", index=False)
    given = ["data=manifest", f"data.root={root}", "data.slides=whole", "quality.num_fields=1"]
    folder = pipeline.preprocess(configure(tmp_path / "out", *given))
    assert len(pd.read_csv(folder / "regions.csv")) > 0
    with pytest.raises(InputError, match="is a whole slide, and pretraining on whole images"):
        pipeline.train(configure(tmp_path / "out", *given, "selection=none"))


def test_strict_minds_what_an_earlier_run_left_out(demo, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(demo, root)
    (root / "slides" / "bad.png").write_bytes(b"nothing")
    given = ["data=manifest", f"data.root={root}", "quality.num_fields=0"]
    pipeline.preprocess(configure(tmp_path / "out", *given))
    with pytest.raises(InputError, match=r"1 slide\(s\) could not be read, and strict=true; the first: .*bad.png"):
        pipeline.preprocess(configure(tmp_path / "out", *given, "strict=true"))


@pytest.mark.parametrize(
    "override",
    ["strict=maybe", "quality.num_fields=abc", "quality.num_crops=0", "quality.slides=a.png", "calibration.seed=-1",
     "calibration.num_fields=2.5", "calibration.check_share=abc", "calibration.apart=-5", "regions.stain_ranges=5",
     "regions.blur_kernel=1000001", "regions.blur_sigma=.inf", "regions.resolution=.inf"],
)  # fmt: skip
def test_settings_of_stage_1_that_can_not_be_are_one_sentence(demo, tmp_path, override):
    with pytest.raises(InputError, match=override.split("=")[0].split(".")[-1]):
        pipeline.preprocess(configure(tmp_path, *on(demo), override))


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
        pipeline.train(config)
    assert len(list((tmp_path / "checkpoints").glob("*/*.ckpt"))) == 2
    again = pipeline.train(config)
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
    for module, name in ((pretraining, "save_file"), (pipeline, "fold_metrics")):
        steps.append(0)
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="no space left"):
            patch.setattr(module, name, Mock(side_effect=RuntimeError("no space left")))
            pipeline.train(config)
    steps.append(0)
    again = pipeline.train(config)
    assert steps == [3, 1 + 3, 1]  # the last of three steps has no checkpoint
    assert (again / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()
    assert not list((tmp_path / "checkpoints").iterdir())


# Starting from published weights


def seen_by(monkeypatch, stage: str, *settings: str, output: Path) -> dict[str, torch.Tensor]:
    """Weights that a stage is given."""
    seen = {}

    def look(module, *_):
        seen.update({name: value.clone() for name, value in module.state_dict().items()})
        raise InputError("seen enough")

    monkeypatch.setattr(pipeline if stage == "pretrain" else classification, stage, look)
    refused(output, *settings, match="seen enough")
    return seen


def vit_mini(seed: int, image_size: int = 48) -> torch.nn.Module:
    torch.manual_seed(seed)
    sizes = {"patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4}
    return timm.create_model("vit_tiny_patch16_224", img_size=image_size, num_classes=0, **sizes)


def test_a_checkpoint_starts_the_encoder_of_a_pretraining(tmp_path, demo, monkeypatch):
    file, published = tmp_path / "published.pth", vit_mini(5).state_dict()
    torch.save({"model": published}, file)
    seen = seen_by(monkeypatch, "pretrain", *on(demo), "selection=none", f"backbone.checkpoint={file}", output=tmp_path)
    assert all(torch.equal(seen[f"encoder.{name}"], value) for name, value in published.items())


def test_a_checkpoint_starts_a_supervised_network(tmp_path, demo, monkeypatch):
    file, published = tmp_path / "published.pth", vit_mini(5).state_dict()
    torch.save(published, file)
    seen = seen_by(monkeypatch, "finetune", *on(demo), "ssl=none", f"backbone.checkpoint={file}", output=tmp_path)
    for name, value in published.items():
        assert name.startswith("norm.") or torch.equal(seen[f"network.{name}"], value), name
    assert seen["network.head.weight"].abs().sum() > 0


def test_init_starts_a_whole_method_and_keys_follow_content_not_paths(tmp_path, demo, monkeypatch):
    method = pipeline.Pipeline(configure(tmp_path, *on(demo), "selection=none", "seed=3")).method()
    names = {"encoder.": "", "decoder.mask_token": "mask_token", "decoder.": "decoder_"}
    weights = {}
    for name, value in method.state_dict().items():
        ours = next(prefix for prefix in names if name.startswith(prefix))
        weights[names[ours] + name.removeprefix(ours)] = value
    made = {}
    torch.save({"model": weights}, tmp_path / "a.pth")
    shutil.copyfile(tmp_path / "a.pth", tmp_path / "b.pth")
    torch.save({"model": {name: value + 1 for name, value in weights.items()}}, tmp_path / "c.pth")
    for file in ("a.pth", "b.pth", "c.pth"):
        made[file] = pipeline.Pipeline(configure(tmp_path, *on(demo), "selection=none", f"ssl.init={tmp_path / file}"))
    assert made["a.pth"].run_name == made["b.pth"].run_name != made["c.pth"].run_name
    assert made["a.pth"].pretraining.name == made["b.pth"].pretraining.name != made["c.pth"].pretraining.name
    scratch = pipeline.Pipeline(configure(tmp_path, *on(demo), "selection=none"))
    assert scratch.run_name != made["a.pth"].run_name and scratch.pretraining.name != made["a.pth"].pretraining.name
    init = f"ssl.init={tmp_path / 'a.pth'}"
    seen = seen_by(monkeypatch, "pretrain", *on(demo), "selection=none", init, output=tmp_path)
    assert all(torch.equal(seen[name], value) for name, value in method.state_dict().items())


def test_starting_weights_that_can_not_be_are_refused_before_anything_runs(tmp_path, demo):
    file, other, output = tmp_path / "a.pth", tmp_path / "b.pth", tmp_path / "out"
    torch.save(vit_mini(5).state_dict(), file)
    torch.save(timm.create_model("resnet18").state_dict(), other)
    checkpoint, init = f"backbone.checkpoint={file}", f"ssl.init={file}"
    for overrides, match in (
        ([checkpoint, init], "ssl.init and backbone.checkpoint both"),
        ([checkpoint, "ssl=none", "backbone.pretrained=true"], "backbone.checkpoint and backbone.pretrained=true both"),
        ([init, "ssl=none"], "ssl=none has none; use backbone.checkpoint"),
        ([f"backbone.checkpoint={other}"], "b.pth, read as timm's names, doesn't fit the VisionTransformer"),
        ([f"backbone.checkpoint={other}", "ssl=none"], "b.pth, read as timm's names, doesn't fit"),
        ([f"ssl.init={other}"], "doesn't fit the MAE with a VisionTransformer"),
        (["backbone.checkpoint=/nope.pth"], "The checkpoint /nope.pth is no file"),
        (["ssl.init=/nope.pth"], "The checkpoint /nope.pth is no file"),
        (["backbone=dinov2_small", "ssl=none"], "recipe.image_size=48 is no multiple of 14"),
    ):
        refused(output, *on(demo), *overrides, match=match)
    assert not (output / "stages").exists()


def test_a_run_from_published_weights_ends_and_its_record_tells_it_from_others(tmp_path, demo):
    file = tmp_path / "published.pth"
    torch.save(vit_mini(5, image_size=64).state_dict(), file)
    own = pipeline.train(configure(tmp_path, *on(demo), "ssl=none", "fold=0", f"backbone.checkpoint={file}"))
    scratch = pipeline.train(configure(tmp_path, *on(demo), "ssl=none", "fold=0"))
    settings = [json.loads((folder / "run.json").read_text())["settings"] for folder in (own, scratch)]
    assert settings[0]["backbone.checkpoint"] and settings[1]["backbone.checkpoint"] is None
    features = FinetunedNetwork(run=str(own.parent), fold=0).load().network
    assert features(torch.zeros(1, 3, 48, 48)).shape == (1, 128)


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
        assert made.pretraining.name == usual.pretraining.name
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
    folder = pipeline.train(configure(outputs, *on(demo), "ssl=none", "fold=1", *overrides))
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
        pipeline.train(config)
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
    folder = pipeline.train(configure(tmp_path, *base, f"fold={fold}"))
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
    retrained = pipeline.train(configure(outputs, *base, "recipe.finetuning.retrain_head=2"))
    assert own.run.ready
    record = json.loads((retrained / "run.json").read_text())
    assert (
        record["classification"]["head_of"] == own.run_name
        and record["settings"]["recipe.finetuning.retrain_head"] == 2
    )
    before, after = (load_file(folder / "network.safetensors") for folder in (own.run.folder, retrained))
    assert {name for name in after if not torch.equal(before[name], after[name])} == {"head.weight", "head.bias"}
    monkeypatch.setattr(classification, "finetune", None)  # would fail if called
    again = pipeline.train(configure(outputs, *base, "recipe.finetuning.retrain_head=1"))
    assert again != retrained and (again / "metrics.json").is_file()


def test_a_retraining_that_was_stopped_ends_as_if_it_had_not_been(outputs, demo, tmp_path):
    settings = [*on(demo), "ssl=none", "fold=1", "recipe.finetuning.retrain_head=2", "checkpoint_minutes=0"]
    expected = pipeline.train(configure(outputs, *settings))
    config, begin, steps = configure(tmp_path, *settings), SaveCheckpoints.on_train_batch_start, iter(range(1000))

    def stop(self, *batch):
        begin(self, *batch)
        if next(steps) == 3 + 4:  # three of fine-tuning
            raise RuntimeError("stopped")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(SaveCheckpoints, "on_train_batch_start", stop)
        pipeline.train(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classification, "finetune", None)
        again = pipeline.train(config)
    for file in ("predictions.csv", "network.safetensors"):
        assert (again / file).read_bytes() == (expected / file).read_bytes()
    assert not list((tmp_path / "checkpoints").iterdir())
