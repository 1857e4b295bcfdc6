"""Folds without a result, told by what trainings leave behind."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from activessf.evaluation.report import write_report
from activessf.evaluation.unfinished import failed_jobs, unfinished_folds
from activessf.owners import new_owner

WriteRun = Callable[..., Path]
SMALL = {"a": 12, "b": 9, "c": 4}


@pytest.mark.usefixtures("undrawn")
def test_running_stopped_and_failed_folds_are_told_apart_and_finished_ones_left_out(
    write_run: WriteRun, tmp_path: Path
) -> None:
    run = write_run("mae-1", folds=[0], counts=SMALL, num_folds=7, rare=[], common=[])
    (run / ".fold_0.partial-old").mkdir()  # of a killed process whose work another has finished
    (run / ".fold_1.partial-x7_y").mkdir()  # of who knows whom
    alive = new_owner()
    (run / f".fold_4.partial-{alive.token}").mkdir()
    (run / f".fold_5.partial-{replace(alive, started=alive.started + 1).token}").mkdir()
    for fold in (0, 2):
        (tmp_path / "checkpoints" / f"mae-1-fold_{fold}").mkdir(parents=True)
        (tmp_path / "checkpoints" / f"mae-1-fold_{fold}" / "step_000010.ckpt").touch()
    (tmp_path / "checkpoints" / "mae-1-fold_4").mkdir()  # without a checkpoint
    (tmp_path / "failed" / "mae-1" / "fold_3").mkdir(parents=True)
    (tmp_path / "failed" / "mae-1" / "fold_3" / "fine-tuning_step_7.safetensors").touch()
    (tmp_path / "checkpoints" / "odd[name-fold_1").mkdir()
    (tmp_path / "checkpoints" / "odd[name-fold_1" / "step.ckpt").touch()
    found = unfinished_folds(tmp_path / "runs")
    states = {(item.run, item.fold): item.state for item in found}
    assert list(states) == [*(("mae-1", fold) for fold in (1, 2, 3, 4, 5)), ("odd[name", 1)]
    assert states["mae-1", 1].startswith("runs, or was killed (begun 20")
    assert states["mae-1", 2].startswith("runs, or was stopped in fine-tuning (checkpoint of 20")
    assert states["mae-1", 3].startswith("failed: its loss was no number")
    assert states["mae-1", 4].startswith("runs (begun 20")
    assert states["mae-1", 5].startswith("was killed (begun 20")
    write_report(tmp_path / "runs", tmp_path / "report")
    (page,) = (tmp_path / "report").glob("*/index.html")
    text = page.read_text()
    assert "fold 3 failed: its loss was no number" in text and "fold 6 not begun." in text
    assert "odd[name, fold 1: runs, or was stopped in fine-tuning" in (tmp_path / "report" / "index.html").read_text()


def write_job(tmp_path: Path, name: str, written: int, state: str, *overrides: str, log: str = "train.log") -> None:
    path = tmp_path / "jobs" / name / "status.json"
    path.parent.mkdir(parents=True)
    said = {"state": state, "job": 0, "overrides": overrides, "log_file": f"/somewhere/{log}"}
    path.write_text(json.dumps(said | ({"error": "Traceback\nOutOfMemoryError: 80 GiB"} if state == "failed" else {})))
    os.utime(path, (written, written))


@pytest.mark.usefixtures("undrawn")
def test_jobs_that_failed_and_were_not_finished_since_are_named_in_the_report(
    write_run: WriteRun, tmp_path: Path
) -> None:
    write_run("mae-1", folds=[0], counts=SMALL, rare=[], common=[])
    write_job(tmp_path, "a/0", 1000, "failed", "ssl=mae", "fold='1'")
    write_job(tmp_path, "b/0", 2000, "finished", "fold='1'", "ssl=mae")  # the same, again
    write_job(tmp_path, "a/1", 1000, "finished", "ssl=mae", "fold='2'")
    write_job(tmp_path, "c/0", 2000, "failed", "ssl=mae", "fold='2'")
    write_job(tmp_path, "d/0", 2000, "failed", "fold='3'", log="select.log")
    note = "The job ssl=mae fold='2' failed: OutOfMemoryError: 80 GiB"
    assert failed_jobs(tmp_path / "runs") == [note]
    assert note in write_report(tmp_path / "runs", tmp_path / "report")
    assert "OutOfMemoryError: 80 GiB" in (tmp_path / "report" / "index.html").read_text()


def test_there_may_be_nothing_unfinished(tmp_path: Path) -> None:
    assert failed_jobs(tmp_path / "runs") == []
    assert unfinished_folds(tmp_path / "runs") == []
