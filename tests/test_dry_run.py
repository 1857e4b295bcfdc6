"""What a dry run foretells, against what the run then does."""

import json
from pathlib import Path

import pandas as pd
import pytest
from tiny import configure, on

from activessf import dry_run, pipeline
from activessf.errors import InputError
from activessf.planning.plan import Piece, read_plans


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """Every test looks anew at what is there."""
    dry_run._measured.cache_clear()


def foretold(outputs: Path, demo: Path, *overrides: str) -> list[Piece]:
    path = pipeline.train(configure(outputs, *on(demo), "dry_run=true", *overrides))
    assert path.name == "plan.json"
    (plan,) = read_plans([path.parent])
    return list(plan.pieces)


def there(outputs: Path) -> set[str]:
    stages = {f"{path.parent.parent.name}/{path.parent.name}" for path in outputs.glob("stages/*/*/inputs.json")}
    return stages | {f"run/{path.parent.parent.name}/{path.parent.name}" for path in outputs.glob("runs/*/*/run.json")}


def names(pieces: list[Piece], ready: bool) -> set[str]:
    return {f"{piece.stage}/{piece.name}" for piece in pieces if piece.ready == ready}


@pytest.fixture(scope="module")
def first(outputs: Path, demo: Path) -> tuple[list[Piece], set[str]]:
    """What was foretold of a run on an empty disk, and what there was once it had run."""
    dry_run._measured.cache_clear()
    pieces = foretold(outputs, demo, "fold=0", "plan.measure=false")
    assert not (outputs / "stages").exists() and not (outputs / "runs").exists()
    pipeline.train(configure(outputs, *on(demo), "fold=0"))
    return pieces, there(outputs)


def test_on_an_empty_disk_all_is_made_and_nothing_is_known_of_its_cost(first):
    pieces, made = first
    assert [piece.stage for piece in pieces] == [
        "cells", "duplicates", "folds", "regions", "features", "features", "selection", "pretraining", "run"
    ]  # fmt: skip
    assert not any(piece.ready for piece in pieces) and all(piece.seconds is None for piece in pieces)
    assert [piece.steps for piece in pieces[-2:]] == [3, 3]
    # All names come true but the pretraining's, which follows from the images that are selected.
    assert {name for name in names(pieces, ready=False) if not name.startswith("pretraining/")} < made
    assert len(made) == len(pieces)


def test_once_it_has_run_it_is_there_already(outputs, demo, first):
    (run,) = foretold(outputs, demo, "fold=0")
    assert run.stage == "run" and run.ready


def test_another_fold_reuses_what_it_shares_and_makes_the_rest(outputs, demo, first):
    before = there(outputs)
    pieces = foretold(outputs, demo, "fold=1")
    assert there(outputs) == before
    assert names(pieces, ready=True) == {
        name for name in before if name.split("/")[0] not in ("selection", "pretraining", "run")
    }
    pipeline.train(configure(outputs, *on(demo), "fold=1"))
    made = there(outputs) - before
    assert {name.split("/")[0] for name in made} == {"selection", "pretraining", "run"}
    assert {name for name in names(pieces, ready=False) if not name.startswith("pretraining/")} < made


def test_costs_are_those_that_were_noted(outputs, demo, first):
    pieces = {piece.stage: piece for piece in foretold(outputs, demo, "fold=2", "recipe.pretraining.steps=30")}
    folder = next(path.parent for path in (outputs / "stages" / "pretraining").glob("*/made.json"))
    timing = json.loads((folder / "history" / "timing.json").read_text())
    made = json.loads((folder / "made.json").read_text())["seconds"]
    per_step = (timing["computing"] + timing["waiting"]) / timing["steps"]
    assert timing["steps"] == 2 and 0 < per_step * 2 < made
    assert pieces["pretraining"].seconds is not None and "as measured on" in pieces["pretraining"].basis
    assert pieces["selection"].seconds is not None and pieces["run"].seconds is not None


def test_alphas_that_keep_the_same_regions_share_their_pretraining_in_the_plan_too(outputs, demo, first):
    same = (
        "selection.alpha=3", "selection.bounds=quantile", "selection.lower_quantile=1", "selection.upper_quantile=1"
    )  # fmt: skip
    settings = (("selection.alpha=0",), same)  # at alpha = 0 every threshold is UB, and so it is with LB = UB
    for overrides in settings:
        pipeline.select(configure(outputs, *on(demo), "fold=2", *overrides))
    planned = [foretold(outputs, demo, "fold=2", "plan.measure=false", *overrides) for overrides in settings]
    pretrainings = [{piece.name for piece in pieces if piece.stage == "pretraining"} for pieces in planned]
    assert pretrainings[0] == pretrainings[1]
    assert len({piece.name for pieces in planned for piece in pieces if piece.stage == "run"}) == 2


def test_a_training_that_no_time_is_known_of_is_timed_for_a_few_steps(outputs, demo, first):
    overrides = ("ssl=mocov3", "selection=none", "recipe.pretraining.steps=1000")
    pieces = {piece.stage: piece for piece in foretold(outputs, demo, "fold=3", *overrides)}
    assert pieces["pretraining"].steps == 1000 and "made-up images" in pieces["pretraining"].basis
    assert pieces["pretraining"].seconds is not None and pieces["pretraining"].seconds > 1
    assert "pretraining" not in {name.split("/")[0] for name in names(list(pieces.values()), ready=True)}


def test_where_stage_2_is_to_run_the_number_of_images_is_assumed(outputs, demo, first):
    epochs = ("recipe.pretraining.steps=null", "recipe.pretraining.epochs=10", "recipe.pretraining.warmup_epochs=1")
    chosen = ("fold=4", "selection=random", "plan.measure=false", *epochs)
    unknown = foretold(outputs, demo, *chosen)[-2]
    assert unknown.steps is None and unknown.seconds is None and "plan.images=N" in unknown.basis
    # 7,299 regions in batches of 8, whole batches only, 10 times: by hand.
    assert foretold(outputs, demo, "plan.images=7299", *chosen)[-2].steps == 9120


def test_a_supervised_run_needs_no_regions(outputs, demo, first):
    pieces = foretold(outputs, demo, "fold=0", "ssl=none", "plan.measure=false")
    assert [piece.stage for piece in pieces] == ["cells", "duplicates", "folds", "run"]


def test_folds_that_no_duplicates_change_do_not_wait_for_them(outputs, demo, first):
    pieces = foretold(outputs, demo, "ssl=none", "fold=0", "data.join_duplicates=false", "plan.measure=false")
    stages = {piece.stage: piece.ready for piece in pieces}
    assert list(stages) == ["cells", "folds", "duplicates", "run"]
    assert stages == {"cells": True, "folds": False, "duplicates": True, "run": False}


def test_mistakes_of_the_run_are_mistakes_of_the_dry_run(outputs, demo):
    for override, match in (
        ("backbone=resnet18", "ssl=mae needs a Vision Transformer"),
        ("plan.devices=8", "plan.devices=8 must be a list"),
        ("plan.devices=[0]", r"plan.devices=\[0\] must be a list"),
        ("plan.images=0", "plan.images=0 must be null or a whole number"),
        ("plan.measured=/nowhere", "plan.measured=/nowhere is no folder"),
    ):
        with pytest.raises(InputError, match=match):
            foretold(outputs, demo, override)


@pytest.mark.parametrize("stage", [pipeline.preprocess, pipeline.select])
def test_the_other_scripts_refuse_a_dry_run(outputs, demo, stage):
    with pytest.raises(InputError, match="dry_run=true tells what train.py would do"):
        stage(configure(outputs, *on(demo), "dry_run=true"))


def test_an_encoder_that_stays_as_it_is_has_no_steps_in_its_run(outputs, demo, first):
    run = foretold(outputs, demo, "fold=0", "evaluation=linear_probe")[-1]
    assert run.stage == "run" and not run.ready and run.steps is None and run.seconds is None


def test_a_retrained_head_needs_the_run_without_it_and_has_steps_of_its_own(outputs, demo, first):
    overrides = ["ssl=none", "fold=1", "recipe.finetuning.retrain_head=2"]
    config = configure(outputs, *on(demo), *overrides)
    cells = len(pipeline.Pipeline(config).classification.cells.training)
    pieces = foretold(outputs, demo, *overrides)
    own, retrained = (piece for piece in pieces if piece.stage == "run")
    assert (own.ready, own.steps) == (False, 3) and (retrained.ready, retrained.steps) == (False, 2 * (cells // 16))
    before = there(outputs)
    folder = pipeline.train(config)
    assert there(outputs) - before == {f"run/{own.name}", f"run/{retrained.name}"}
    assert json.loads((folder / "run.json").read_text())["classification"]["steps"] == retrained.steps
    assert pd.read_csv(folder / "history" / "metrics.csv")["train/loss"].count() == retrained.steps
    again = foretold(outputs, demo, "ssl=none", "fold=1", "recipe.finetuning.retrain_head=3")
    assert [(piece.name, piece.ready) for piece in again][0] == (own.name, True) and len(again) == 2
