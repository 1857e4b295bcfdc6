"""Folds without a result, told by what trainings leave behind."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from activessf.evaluation.report import write_report
from activessf.evaluation.unfinished import unfinished_folds
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


def test_there_may_be_nothing_unfinished(tmp_path: Path) -> None:
    assert unfinished_folds(tmp_path / "runs") == []
