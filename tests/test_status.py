import json
import os
import time
from pathlib import Path

import pytest

from activessf import status
from activessf.jobs.sweep import read_sweep
from activessf.owners import new_owner

JOBS = [["ssl=mae", f"fold='{number}'"] for number in range(5)]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Five jobs: one is finished, one has failed, one trains, two wait."""
    folder = tmp_path / "2026_train_7"
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps({"command": "python train.py fold=0..4 -m", "jobs": JOBS}))
    os.utime(folder / "sweep.json", (time.time() - 200,) * 2)
    says = (
        {"state": "finished", "seconds": 100.0},
        {"state": "failed", "seconds": 5.0, "error": "Traceback (most recent call last):\nKeyError: '\x1b[31mx'"},
        {
            "state": "running", "seconds": 60.0, "activity": "Pretraining", "epoch": 3, "step": 50, "total": 200,
            "loss": 0.4321, "seconds_per_step": 0.5, "memory_gib": 1.25, "cores": 0.98, "gpu": "A100", "gpu_gib": 20.0,
        },
    )  # fmt: skip
    for number, said in enumerate(says):
        (folder / str(number)).mkdir()
        about = {"job": number, "overrides": JOBS[number], "owner": new_owner().token, "host": "node7", "pid": 9}
        (folder / str(number) / "status.json").write_text(json.dumps({**about, **said}))
    return folder


def test_one_screen_tells_jobs_stage_epoch_time_left_memory_and_the_last_error(sweep):
    lines = status.screen(read_sweep(sweep), 200, 40).splitlines()
    assert lines[1] == "python train.py fold=0..4 -m"
    # By hand: three jobs to go at 100 s each, one running for 60 s already, one at a time: 240 s.
    assert lines[2] == "1 finished, 1 running, 1 failed, 2 waiting; 3 min so far, about 4 min to go"
    (row,) = [line for line in lines if "Pretraining" in line]
    assert row.split()[:9] == ["2", "Pretraining", "50/200", "3", "0.4321", "0.5", "75", "s", "1.2"]
    assert "node7:9 A100 20.0 GiB" in row and row.endswith("ssl=mae fold='2'")
    assert any(line.startswith("last error, job 1 ssl=mae fold='1'") for line in lines)
    assert lines[-1] == "  KeyError: ' [31mx'"  # no commands to the terminal


def test_it_fits_the_screen(sweep):
    for number in range(100):
        folder = sweep / f"many_{number}"
        folder.mkdir()
        folder.joinpath("status.json").write_text((sweep / "2" / "status.json").read_text())
    lines = status.screen(read_sweep(sweep), 80, 24).splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80 and any("more" in line for line in lines)


def test_without_a_folder_it_is_the_newest_sweep(sweep, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")  # of the screen: a path is not cut
    other = tmp_path / "2027_train_8"
    other.mkdir()
    (other / "status.json").write_text(json.dumps({"state": "finished", "job": None, "overrides": ["ssl=none"]}))
    for path in tmp_path.rglob("status.json"):
        os.utime(path, (time.time() - (50 if path.parent == other else 10),) * 2)
    assert status.newest(tmp_path) == sweep
    status.main(["--jobs", str(tmp_path)])
    assert str(sweep) in capsys.readouterr().out


def test_watching_ends_with_ctrl_c(sweep, monkeypatch, capsys):
    seconds = []

    def sleep(given: float) -> None:
        seconds.append(given)
        if len(seconds) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", sleep)
    status.main([str(sweep), "--watch", "0.5"])
    assert seconds == [0.5, 0.5] and capsys.readouterr().out.count("Pretraining") == 2


@pytest.mark.parametrize("arguments", [["/nowhere"], ["--jobs", "/nowhere"], [".", "--watch", "0"]])
def test_what_can_not_be_shown_is_one_sentence(arguments, capsys):
    assert status.main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1


def test_jobs_that_only_found_their_result_tell_nothing_of_the_time_to_go(sweep):
    path = sweep / "0" / "status.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": 1.0}))
    assert status.screen(read_sweep(sweep), 200, 40).splitlines()[2].endswith("2 waiting; 3 min so far")
