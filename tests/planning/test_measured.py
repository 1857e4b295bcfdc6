import json
from pathlib import Path

import pytest

from activessf.planning.measured import Measured, finetuning_kind, pretraining_kind

PRETRAINING = {
    "version": 2,
    "method": {"name": "mae", "method": {"mask_ratio": 0.75}, "view": {"size": 48}, "layer_decay": 1.0},
    "backbone": {"name": "vit_mini", "depth": 4},
    "training": {"batch_size": 64, "steps": 200, "epochs": None, "base_lr": 1e-3},
    "trainer": {"precision": "32-true"},
    "compile": False,
    "seed": 0,
    "images": "abc",
}
RUN = {
    "settings": {
        "backbone": {"name": "vit_mini", "pretrained": False},
        "recipe": {"finetuning": {"batch_size": 64, "steps": None, "epochs": 50}},
        "loss": {"_target_": "x"},
        "trainer": {"precision": "32-true"},
    },
    "fold": 0,
}


def changed(inputs: dict, *path: str, value: object) -> dict:
    copy = json.loads(json.dumps(inputs))
    node = copy
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value"),
    [(("seed",), 1), (("images",), "x"), (("training", "steps"), 9), (("training", "base_lr"), 1.0),
     (("method", "layer_decay"), 0.5)],
)  # fmt: skip
def test_steps_take_as_long_whatever_is_learned_and_for_how_long(path, value):
    assert pretraining_kind(changed(PRETRAINING, *path, value=value)) == pretraining_kind(PRETRAINING)


@pytest.mark.parametrize(
    ("path", "value"),
    [(("training", "batch_size"), 32), (("backbone", "depth"), 5), (("method", "view", "size"), 96),
     (("method", "method", "mask_ratio"), 0.5), (("trainer", "precision"), "bf16-mixed"), (("compile",), True)],
)  # fmt: skip
def test_what_is_computed_in_a_step_makes_another_kind(path, value):
    assert pretraining_kind(changed(PRETRAINING, *path, value=value)) != pretraining_kind(PRETRAINING)


def test_folds_and_lengths_of_a_fine_tuning_are_of_one_kind_and_networks_are_not():
    same = changed(changed(RUN, "fold", value=3), "settings", "recipe", "finetuning", "epochs", value=5)
    assert finetuning_kind(same) == finetuning_kind(RUN)
    assert finetuning_kind(changed(RUN, "settings", "backbone", "name", value="vit_base")) != finetuning_kind(RUN)


def write(folder: Path, inputs: dict, seconds: float, timing: dict | None) -> None:
    (folder / "history").mkdir(parents=True)
    (folder / "inputs.json").write_text(json.dumps(inputs))
    (folder / "made.json").write_text(json.dumps({"seconds": seconds, "used": []}))
    if timing is not None:
        (folder / "history" / "timing.json").write_text(json.dumps(timing))


def timing(steps: int, computing: float, waiting: float, device: str) -> dict:
    return {"steps": steps, "computing": computing, "waiting": waiting, "watching": 1.0, "device": device}


def test_times_are_those_of_the_results_that_are_there_and_of_this_device_if_it_has_any(tmp_path):
    pretraining = tmp_path / "stages" / "pretraining"
    write(pretraining / "demo-mae-1", PRETRAINING, 60.0, timing(100, 30.0, 10.0, "A100"))  # 0.4 s a step, 20 s besides
    write(pretraining / "demo-mae-2", PRETRAINING, 500.0, timing(100, 300.0, 100.0, "CPU"))  # 4 s a step
    write(tmp_path / "runs" / "x" / "fold_0", RUN, 30.0, timing(50, 20.0, 5.0, "CPU"))
    here = Measured(tmp_path, "A100").training(pretraining_kind(PRETRAINING))
    assert here is not None
    assert here.seconds_per_step == pytest.approx(0.4) and here.others == pytest.approx(20) and here.device == "A100"
    run = Measured(tmp_path, "A100").training(finetuning_kind(RUN))
    assert run is not None and run.seconds_per_step == pytest.approx(0.5) and run.device == "CPU"
    assert Measured(tmp_path, "A100").training("another") is None


def test_a_stage_costs_what_it_did_for_the_same_data_and_else_for_any(tmp_path):
    for name, seconds in (("demo-1", 3.0), ("demo-2", 5.0), ("bccd-1", 100.0)):
        write(tmp_path / "stages" / "regions" / name, {}, seconds, None)
    (tmp_path / "stages" / "regions" / "bccd-2").mkdir()  # of an earlier version: without a note
    measured = Measured(tmp_path, "CPU")
    assert measured.stage("regions", "demo") == 4.0 and measured.stage("regions", "chula") == 5.0
    assert measured.stage("selection", "demo") is None


def test_what_can_not_be_read_counts_as_not_measured(tmp_path):
    folder = tmp_path / "stages" / "pretraining" / "demo-mae-1"
    write(folder, PRETRAINING, 60.0, timing(0, 0.0, 0.0, "CPU"))  # too short
    (folder.parent / "demo-mae-2" / "history").mkdir(parents=True)
    (folder.parent / "demo-mae-2" / "history" / "timing.json").write_text("{broken")
    assert Measured(tmp_path, "CPU").training(pretraining_kind(PRETRAINING)) is None
