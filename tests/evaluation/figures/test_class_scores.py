from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from pictures import assert_is_drawn
from sklearn.metrics import average_precision_score

from activessf.evaluation.figures.class_scores import pr_auc_by_class, pr_auc_panel
from activessf.evaluation.runs import Run, collect_runs

WriteRun = Callable[..., Path]


def precisions(run: Run, name: str) -> list[float]:
    tables = [fold.predictions for fold in run.folds.values() if (fold.predictions["label"] == name).any()]
    return [average_precision_score(table["label"] == name, table[f"p_{name}"]) for table in tables]


def test_bars_and_whiskers_are_mean_and_deviation_over_folds(write_run: WriteRun, tmp_path: Path) -> None:
    counts = {"a": 30, "b": 9, "c": 5}
    for index in range(2):
        write_run(f"mae-{index}", skill=index, counts=counts, rare=["c"], common=["a"], absent={4: ["c"]})
    runs = collect_runs(tmp_path)[0]
    axes = Figure().subplots()
    pr_auc_panel(axes, runs, ["c", "b", "a"], ["c", "b", "a"], {"c"})
    expected = np.array([[precisions(run, name) + [np.nan] * (name == "c") for name in "cba"] for run in runs]) * 100
    bars = [bar.get_height() for group in axes.containers if hasattr(group, "patches") for bar in group.patches]
    assert bars == pytest.approx(np.nanmean(expected, axis=2).ravel())
    segments = np.concatenate([lines.get_segments() for lines in axes.collections])  # (runs * classes, 2, xy)
    assert segments[:, 1, 1] - segments[:, 0, 1] == pytest.approx(2 * np.nanstd(expected, axis=2, ddof=1).ravel())
    assert segments[:, :, 1].mean(axis=1) == pytest.approx(bars)
    written = [text.get_text() for text in axes.texts]
    assert written == [f"{bar:.0f}" for bar in bars]


def test_a_class_that_no_fold_tests_has_no_bar_and_one_fold_has_no_whiskers(
    write_run: WriteRun, tmp_path: Path
) -> None:
    write_run("mae-0", counts={"a": 12, "b": 9, "c": 5}, folds=[0], absent={0: ["c"]}, rare=[], common=[])
    axes = Figure().subplots()
    pr_auc_panel(axes, collect_runs(tmp_path)[0], ["a", "b", "c"], ["a", "b", "c"], set())
    heights = [bar.get_height() for group in axes.containers if hasattr(group, "patches") for bar in group.patches]
    assert np.isnan(heights).tolist() == [False, False, True]
    assert sum(len(lines.get_segments()) for lines in axes.collections) == 0 and len(axes.texts) == 2


def test_seven_runs_are_drawn_in_one_figure(write_run: WriteRun, tmp_path: Path) -> None:
    for index in range(7):
        write_run(f"mae-{index}", folds=[0, 1], title=f"mae + a selection with a long name, number {index}")
    pr_auc_by_class(collect_runs(tmp_path)[0], ["CA-MK", "G-MK"], {"CA-MK"}, {"G-MK"}, tmp_path / "bars.png")
    assert_is_drawn(tmp_path / "bars.png")
