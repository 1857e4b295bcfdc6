import json
from pathlib import Path

import pytest

from activessf.errors import InputError
from activessf.planning.__main__ import main
from activessf.planning.measured import Measured, finetuning_kind, known_times, noted_times, pretraining_kind
from activessf.planning.plan import PLAN_FILE, Plan
from activessf.planning.table import read_times, write_times
from activessf.planning.times import Kind, Time, training_time

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
        "recipe": {"finetuning": {"batch_size": 64, "steps": None, "epochs": 50, "view": {"size": 48}}},
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
    here = Measured(noted_times(tmp_path), "A100").training(pretraining_kind(PRETRAINING))
    assert here is not None
    assert here.seconds_per_step == pytest.approx(0.4) and here.others == pytest.approx(20) and here.device == "A100"
    run = Measured(noted_times(tmp_path), "A100").training(finetuning_kind(RUN))
    assert run is not None and run.seconds_per_step == pytest.approx(0.5) and run.device == "CPU"
    assert (
        Measured(noted_times(tmp_path), "A100").training(pretraining_kind(PRETRAINING)._replace(batch_size=1)) is None
    )


def test_a_stage_costs_what_it_did_for_the_same_data_and_else_for_any(tmp_path):
    for name, seconds in (("demo-1", 3.0), ("demo-2", 5.0), ("bccd-1", 100.0)):
        write(tmp_path / "stages" / "regions" / name, {}, seconds, None)
    (tmp_path / "stages" / "regions" / "bccd-2").mkdir()  # of an earlier version: without a note
    measured = Measured(noted_times(tmp_path), "CPU")
    assert measured.stage("regions", "demo") == 4.0 and measured.stage("regions", "chula") == 5.0
    assert measured.stage("selection", "demo") is None


def test_what_can_not_be_read_counts_as_not_measured(tmp_path):
    folder = tmp_path / "stages" / "pretraining" / "demo-mae-1"
    write(folder, PRETRAINING, 60.0, timing(0, 0.0, 0.0, "CPU"))  # too short
    (folder.parent / "demo-mae-2" / "history").mkdir(parents=True)
    (folder.parent / "demo-mae-2" / "history" / "timing.json").write_text("{broken")
    assert Measured(noted_times(tmp_path), "CPU").training(pretraining_kind(PRETRAINING)) is None


OTHERS = Kind("pretraining", "mae", "vit_base", 224, 64, "32-true", "0123")


def test_the_table_of_a_machine_says_on_another_what_its_results_say_there(tmp_path, capsys):
    outputs, table = tmp_path / "outputs", tmp_path / "times.csv"
    write(outputs / "stages" / "pretraining" / "demo-mae-1", PRETRAINING, 60.0, timing(100, 30.0, 10.0, "A100"))
    write(outputs / "runs" / "x" / "fold_0", RUN, 30.0, timing(50, 20.0, 5.0, "A100"))
    write(outputs / "stages" / "regions" / "demo-1", {}, 7.0, None)
    # What was timed for a plan counts only where there is no training of that kind.
    probed = (training_time(OTHERS, "A100", 0.25), training_time(pretraining_kind(PRETRAINING), "A100", 9.0))
    job = outputs / "jobs" / "sweep" / "3"
    job.mkdir(parents=True)
    (job / PLAN_FILE).write_text(json.dumps(Plan("mae", 0, (), (1,), 1, probed).to_json()))
    main([str(outputs), "--output", str(table)])
    assert "of 3 kinds of training; elsewhere: plan.measured=" in capsys.readouterr().out
    here, there = Measured(known_times(outputs), "CPU"), Measured(known_times(table), "CPU")
    for kind in (pretraining_kind(PRETRAINING), finetuning_kind(RUN)):
        assert there.training(kind) == here.training(kind) is not None
    assert there.stage("regions", "bccd") == here.stage("regions", "bccd") == 7.0
    assert here.training(OTHERS) is None and there.training(OTHERS) == (0.25, 0.0, "A100")
    assert main([str(outputs), "--output", str(table)]) == 2
    assert "exists; name another file" in capsys.readouterr().err
    assert main([str(tmp_path / "empty"), "--output", str(tmp_path / "none.csv")]) == 2
    assert "Nothing has been timed in" in capsys.readouterr().err


def test_rows_written_by_hand_count_where_there_is_none_of_exactly_the_kind(tmp_path):
    path = tmp_path / "times.csv"
    path.write_text(
        "stage,name,backbone,image_size,batch_size,seconds_per_step,seconds,device\n"
        "pretraining,mae,vit_base,224,64,0.5,100,A100\npretraining,mae,vit_base,224,64,0.7,200,A100\n"
        "run,,vit_base,224,64,0.3,,A100\nregions,,,,,,3600,A100\npretraining,mae,vit_base,224,64,9,9,V100\n"
    )
    measured = Measured(read_times(path), "CPU")
    time = measured.training(OTHERS)
    assert time is not None and time.seconds_per_step == pytest.approx(0.6) and time.others == 150
    assert time.device == "A100"  # which is named first; neither is this machine's
    v100 = Measured(read_times(path), "V100").training(OTHERS)
    assert v100 is not None and v100.seconds_per_step == 9
    assert measured.training(OTHERS._replace(precision="bf16-mixed")) is None
    assert measured.training(OTHERS._replace(stage="run", name="")) == (0.3, 0.0, "A100")
    assert measured.stage("regions", "demo") == 3600
    exact = [*read_times(path), training_time(OTHERS, "V100", 2.0)]
    assert Measured(exact, "A100").training(OTHERS) == (2.0, 0.0, "V100")


def test_a_table_is_read_back_as_it_was_written(tmp_path):
    times = [training_time(OTHERS, 'A100, "80 GB"', 1 / 3, 0.1), Time("regions", "007", seconds=2.5)]
    write_times(times, tmp_path / "times.csv")
    assert read_times(tmp_path / "times.csv") == times


@pytest.mark.parametrize(
    ("row", "match"),
    [("pretraining,mae,vit_base,224,64,fast", "line 2: seconds_per_step=fast must be a number, 0 or more"),
     ("pretraining,mae,vit_base,224,64,-1", "seconds_per_step=-1 must be"),
     ("run,,vit_base,,64,1", "line 2: stage=run needs backbone, image_size, batch_size and seconds_per_step"),
     (",mae,vit_base,224,64,1", "stage= needs a name")],
)  # fmt: skip
def test_a_table_that_can_not_be_is_one_sentence(row, match, tmp_path):
    (tmp_path / "times.csv").write_text(f"stage,name,backbone,image_size,batch_size,seconds_per_step\n{row}\n")
    with pytest.raises(InputError, match=match):
        known_times(tmp_path / "times.csv")
