from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pictures import assert_is_drawn
from sklearn.metrics import average_precision_score

from activessf.evaluation.figures.precision_recall import mean_curve, pr_curve, pr_curves, pr_panel
from activessf.evaluation.runs import Run, collect_runs

WriteRun = Callable[..., Path]
# Scores in eighths, so that many are equal.
FOLDS = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=30).filter(
    lambda cells: any(is_class for is_class, _ in cells)
)


def arrays(cells: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([is_class for is_class, _ in cells]), np.array([score / 8 for _, score in cells])


def area(x: np.ndarray, y: np.ndarray) -> float:
    """Under a line that is drawn with steps before its points."""
    return float((np.diff(x) * y[1:]).sum())


def naive_precision(is_class: np.ndarray, scores: np.ndarray, recall: float) -> float:
    """Threshold after threshold, from the highest, until so many of the class are found."""
    for threshold in sorted(set(scores), reverse=True):
        called = scores >= threshold
        found = (called & is_class).sum()
        if found >= recall * is_class.sum() - 1e-9:
            return found / called.sum()
    raise AssertionError


@settings(deadline=None, max_examples=60)
@given(FOLDS)
def test_the_area_of_a_curve_is_the_average_precision(cells: list[tuple[bool, int]]) -> None:
    is_class, scores = arrays(cells)
    curve = pr_curve(is_class, scores)
    assert curve.recall[-1] == 1 and (np.diff(curve.recall) > 0).all() and curve.recall[0] > 0
    drawn = area(np.r_[0, curve.recall], np.r_[0, curve.precision])
    assert drawn == pytest.approx(average_precision_score(is_class, scores))


@settings(deadline=None, max_examples=60)
@given(FOLDS, st.integers(1, 100))
def test_precision_is_that_of_the_highest_threshold_that_reaches_a_recall(cells: list, percent: int) -> None:
    is_class, scores = arrays(cells)
    recall = percent / 100
    if any(abs(recall - found / is_class.sum()) < 1e-6 for found in range(len(cells))):
        recall -= 1e-4  # beside a step both sides are right
    found = pr_curve(is_class, scores).at(np.array([recall]))[0]
    assert found == pytest.approx(naive_precision(is_class, scores, recall))


@settings(deadline=None, max_examples=60)
@given(st.lists(FOLDS, min_size=1, max_size=5))
def test_the_area_of_the_mean_is_the_mean_average_precision(folds: list[list[tuple[bool, int]]]) -> None:
    mean, deviation = mean_curve([pr_curve(*arrays(cells)) for cells in folds])
    expected = np.mean([average_precision_score(*arrays(cells)) for cells in folds])
    assert area(np.r_[0, mean.recall], np.r_[0, mean.precision]) == pytest.approx(expected)
    assert len(deviation) == len(mean.recall) and (deviation >= 0).all()


def test_mean_and_deviation_of_two_curves_by_hand() -> None:
    # Found first, of two: precision 1 up to recall 1/2, then 2/3. Found second, of one: precision 1/2.
    first = pr_curve(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))
    second = pr_curve(np.array([False, True]), np.array([0.9, 0.8]))
    mean, deviation = mean_curve([first, second])
    assert mean.recall.tolist() == [0.5, 1.0]
    assert mean.precision == pytest.approx([3 / 4, 7 / 12])
    assert deviation == pytest.approx([0.5 / 2**0.5, (1 / 6) / 2**0.5])


def panel(runs: list[Run], name: str) -> tuple[Axes, list[Line2D], list[Line2D]]:
    """The axes, its strong lines and its faint ones, without the line of chance."""
    axes = Figure().subplots()
    pr_panel(axes, runs, name, name)
    curves = [line for line in axes.lines if line.get_drawstyle() == "steps-pre"]
    strong = [line for line in curves if line.get_linewidth() > 1]
    return axes, strong, [line for line in curves if line.get_linewidth() < 1]


def precisions(run: Run, name: str) -> list[float]:
    tables = [fold.predictions for fold in run.folds.values()]
    return [
        average_precision_score(table["label"].to_numpy(str) == name, table[f"p_{name}"])
        for table in tables
        if (table["label"] == name).any()
    ]


def runs_of(write_run: WriteRun, tmp_path: Path, **options: object) -> list[Run]:
    write_run("mae-0", "mae", "none", skill=1.0, **options)
    write_run("mae-1", "mae", "activessf", skill=2.0, **options)
    return sorted(collect_runs(tmp_path)[0], key=lambda run: run.name)


def test_drawn_lines_and_the_legend_are_those_of_scikit_learn(write_run: WriteRun, tmp_path: Path) -> None:
    runs = runs_of(write_run, tmp_path, absent={2: ["CA-MK"]})
    for name, num_folds in (("CA-MK", 4), ("G-MK", 5)):
        axes, strong, faint = panel(runs, name)
        expected = [precisions(run, name) for run in runs]
        assert len(faint) == 2 * num_folds
        assert [area(*line.get_data()) for line in strong] == pytest.approx([np.mean(values) for values in expected])
        assert [area(*line.get_data()) for line in faint] == pytest.approx([*expected[0], *expected[1]])
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        assert texts == [
            f"AP {100 * np.mean(values):.1f} \u00b1 {100 * np.std(values, ddof=1):.1f}" for values in expected
        ]
        shares = [(f.predictions["label"] == name).mean() for run in runs for f in run.folds.values()]
        chance = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert chance[0].get_ydata()[0] == pytest.approx(np.mean([share for share in shares if share]))


def test_the_band_is_one_deviation_about_the_mean(write_run: WriteRun, tmp_path: Path) -> None:
    run = runs_of(write_run, tmp_path)[1]
    axes, (line,), _ = panel([run], "G-MK")
    (band,) = [item for item in axes.collections if isinstance(item, PolyCollection)]
    tables = [fold.predictions for fold in run.folds.values()]
    is_class = [table["label"].to_numpy(str) == "G-MK" for table in tables]
    at_half = [naive_precision(c, t["p_G-MK"].to_numpy(), 0.51) for c, t in zip(is_class, tables, strict=True)]
    x, mean = line.get_data()
    assert mean[np.searchsorted(x, 0.51)] == pytest.approx(np.mean(at_half))
    vertices = band.get_paths()[0].vertices
    inside = vertices[np.isclose(vertices[:, 0], x[np.searchsorted(x, 0.51)])]
    deviation = np.std(at_half, ddof=1)
    low, high = np.clip([np.mean(at_half) - deviation, np.mean(at_half) + deviation], 0, 1)
    assert np.isclose(inside[:, 1], low).any() and np.isclose(inside[:, 1], high).any()


def test_one_fold_has_its_curve_and_no_band(write_run: WriteRun, tmp_path: Path) -> None:
    runs = runs_of(write_run, tmp_path, folds=[3])
    axes, strong, faint = panel(runs, "HL-MK")
    assert len(strong) == 2 and not faint and not axes.collections
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        f"AP {100 * precisions(run, 'HL-MK')[0]:.1f}" for run in runs
    ]


def test_a_class_without_any_test_cell_has_an_empty_panel(write_run: WriteRun, tmp_path: Path) -> None:
    runs = runs_of(write_run, tmp_path, folds=[0], absent={0: ["HL-MK"]})
    axes, strong, _ = panel(runs, "HL-MK")
    assert not strong and [text.get_text() for text in axes.texts] == ["no test cell"]
    pr_curves(runs, ["HL-MK", "G-MK"], {"HL-MK"}, set(), tmp_path / "curves.png")
    assert_is_drawn(tmp_path / "curves.png")


def test_baseline_and_run_differ_by_more_than_colour(write_run: WriteRun, tmp_path: Path) -> None:
    _, strong, _ = panel(runs_of(write_run, tmp_path), "G-MK")
    assert len({line.get_linestyle() for line in strong}) == 2
