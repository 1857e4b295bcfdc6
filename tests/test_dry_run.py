"""What a dry run foretells, against what the run then does."""

import json
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from tiny import configure, on

from activessf import commands, dry_run, pipeline
from activessf.cli.spelling import canonical
from activessf.configuration import CONF
from activessf.errors import InputError
from activessf.planning.plan import Piece, Plan, read_plans
from activessf.planning.schedule import makespan


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """Every test looks anew at what is there."""
    dry_run._known_times.cache_clear()


def foretold(outputs: Path, demo: Path, *overrides: str) -> list[Piece]:
    path = commands.train(configure(outputs, *on(demo), "dry_run=true", *overrides))
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
    dry_run._known_times.cache_clear()
    pieces = foretold(outputs, demo, "fold=0", "plan.measure=false")
    assert not (outputs / "stages").exists() and not (outputs / "runs").exists()
    commands.train(configure(outputs, *on(demo), "fold=0"))
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
    commands.train(configure(outputs, *on(demo), "fold=1"))
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
        commands.select(configure(outputs, *on(demo), "fold=2", *overrides))
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


# Made up: seconds a step and besides, of the rows of Tables I and II at the paper's size.
PRETRAININGS = {"mocov3": ("vit_base", 0.5, 700), "convmae": ("convvit_base", 0.4, 600),
                "mixmim": ("mixmim_base", 0.3, 500), "mae": ("vit_base", 0.2, 400)}  # fmt: skip
FINETUNINGS = {"resnet50": (3.0, 50), "vit_base": (5.0, 60), "convvit_base": (4.0, 70), "mixmim_base": (2.0, 80)}
SEARCH = 9000.0  # of the regions, which the rows with ActiveSSF share
STEPS = 45_600  # 400 epochs of 7,299 regions in batches of 64


def table_of_times(path: Path) -> Path:
    rows = [
        f"pretraining,{name},{backbone},224,64,{step},{rest}" for name, (backbone, step, rest) in PRETRAININGS.items()
    ]
    rows += [f"run,,{backbone},224,64,{step},{rest}" for backbone, (step, rest) in FINETUNINGS.items()]
    header = "stage,name,backbone,image_size,batch_size,seconds_per_step,seconds"
    path.write_text("\n".join([header, *rows, f"regions,,,,,,{SEARCH}"]) + "\n")
    return path


def at_paper_size(*overrides: str) -> DictConfig:
    """Features are those of a network that needs no hub; all rows pretrain for as many steps."""
    usual = ["recipe=paper", "selection.features=efficientnet_lite0", f"recipe.pretraining.steps={STEPS}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", canonical([*usual, *overrides]))


def listed(jobs: list[tuple[bool, float]], devices: int) -> float:
    """A list schedule: each job goes to the device that is free first; who needs the regions waits for them."""
    free, searched = [0.0] * devices, None
    for needs_regions, seconds in jobs:
        begin = min(free)
        device = free.index(begin)
        if needs_regions:
            searched = begin + SEARCH if searched is None else searched
            begin = max(begin, searched)
        free[device] = begin + seconds
    return max(free)


def test_the_papers_comparison_on_1_8_and_64_gpus_is_foretold_from_a_table_of_step_times(demo, tmp_path, monkeypatch):
    table = table_of_times(tmp_path / "times.csv")
    monkeypatch.setattr(pipeline.Pipeline, "check_networks", lambda self: None)  # which others test
    by_hand, plans = [], []
    rows = OmegaConf.load(CONF / "experiment" / "comparison.yaml").hydra.sweeper.params["experiment/row"].split(",")
    assert len(rows) == 10
    steps = 50 * ((len(pd.read_csv(demo / "cells.csv")) * 4 // 5) // 64)  # of fine-tuning: whole batches of four folds
    assert steps > 0
    for row in rows:
        config = at_paper_size(
            f"experiment/row={row}", *on(demo), f"plan.measured={table}", f"paths.output_dir={tmp_path}"
        )
        method, backbone = config.ssl_method.name, config.backbone.name
        pretrained, besides = PRETRAININGS[method][1:] if method in PRETRAININGS else (0.0, 0.0)
        step, rest = FINETUNINGS[backbone]
        for fold in range(5):
            config.fold.index = fold
            plans.append(Plan("", fold, tuple(dry_run.DryRun(pipeline.Pipeline(config)).pieces()), ()))
            by_hand.append((row.endswith("_activessf"), STEPS * pretrained + besides + steps * step + rest))
    costs = [[piece.cost for piece in plan.pieces] for plan in plans]
    assert makespan(costs, 1) == pytest.approx(sum(seconds for _, seconds in by_hand) + SEARCH)
    for devices in (1, 8, 64):
        assert makespan(costs, devices) == pytest.approx(listed(by_hand, devices))
    # With a device for each job: the regions, and the longest that needs them.
    assert makespan(costs, 64) == pytest.approx(SEARCH + STEPS * 0.5 + 700 + steps * 5.0 + 60)
    assert not any("made-up images" in piece.basis for plan in plans for piece in plan.pieces)


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
        ("backbone=resnet18", "ssl=mae needs a plain Vision Transformer"),
        ("plan.devices=8", "plan.devices=8 must be a list"),
        ("plan.devices=[0]", r"plan.devices=\[0\] must be a list"),
        ("plan.images=0", "plan.images=0 must be null or a whole number"),
        ("plan.measured=/nowhere", "plan.measured=/nowhere is neither an output folder"),
    ):
        with pytest.raises(InputError, match=match):
            foretold(outputs, demo, override)


@pytest.mark.parametrize("stage", [commands.preprocess, commands.select])
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
    folder = commands.train(config)
    assert there(outputs) - before == {f"run/{own.name}", f"run/{retrained.name}"}
    assert json.loads((folder / "run.json").read_text())["classification"]["steps"] == retrained.steps
    assert pd.read_csv(folder / "history" / "metrics.csv")["train/loss"].count() == retrained.steps
    again = foretold(outputs, demo, "ssl=none", "fold=1", "recipe.finetuning.retrain_head=3")
    assert [(piece.name, piece.ready) for piece in again][0] == (own.name, True) and len(again) == 2
