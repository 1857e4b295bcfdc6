"""Precision against recall of each class, fold by fold and on average."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from activessf.evaluation.figures.class_scores import class_scores
from activessf.evaluation.figures.style import class_labels, colours, drawing, rare_first, wrapped
from activessf.evaluation.runs import Run
from activessf.evaluation.statistics import mean_and_deviation
from activessf.manifests import PROBABILITY_PREFIX

FloatArray = NDArray[np.float64]

_LINES: tuple[Literal["--", "-"], ...] = (
    "--",
    "-",
)  # of the baseline and the run, which differ by more than their colour
_COLUMNS = 4
_TICKS, _PERCENT = (0, 0.5, 1), ("0", "50", "100")
_CHANCE: Mapping[str, Any] = {"color": "#444444", "linewidth": 0.8, "linestyle": ":"}
_PANEL = 2.35, 2.15  # inches


class Curve(NamedTuple):
    """Precision as a step function of recall, whose area is the average precision.

    Attributes:
        recall: Ascending, greater than 0, the last one 1, (k,).
        precision: Between the recall before (at first 0) and this one, (k,).
    """

    recall: FloatArray
    precision: FloatArray

    def at(self, recalls: FloatArray) -> FloatArray:
        """Precision at recalls in (0, 1]: at the highest threshold that reaches each, so nothing is interpolated."""
        return self.precision[np.searchsorted(self.recall, recalls, side="left")]


def pr_curve(is_class: NDArray[np.bool_], scores: FloatArray) -> Curve:
    """The curve of one class in one fold.

    Args:
        is_class: Whether each test cell is of the class, (n,); one at least is.
        scores: Probability of the class, (n,).
    """
    precision, recall, _ = precision_recall_curve(is_class, scores)
    precision, recall = precision[::-1], recall[::-1]  # from the highest threshold on
    rises = np.flatnonzero(np.diff(recall) > 0) + 1
    return Curve(recall[rises], precision[rises])


def mean_curve(curves: Sequence[Curve]) -> tuple[Curve, FloatArray]:
    """Mean over folds at every recall that one of them has a step at, and the sample standard deviation there.

    The area of the mean is exactly the mean of the areas, which is what tables give. The deviation of one curve is 0.
    """
    recalls = np.unique(np.concatenate([curve.recall for curve in curves]))
    precisions = np.array([curve.at(recalls) for curve in curves])  # (folds, k)
    deviation = precisions.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros(len(recalls))
    return Curve(recalls, precisions.mean(axis=0)), deviation


def pr_curves(
    runs: Sequence[Run], classes: Sequence[str], rare: Collection[str], common: Collection[str], path: Path
) -> None:
    """Draw a panel of curves a class, rare classes first, as PNG and PDF.

    Faint lines are folds, the strong one is their mean with a band of one sample standard deviation. Cells of different
    folds are not pooled into one curve: they are scored by different networks, whose probabilities need not agree.

    Args:
        runs: The baseline and the run, or one run alone.
        classes: Classes in the order of tables.
        rare: Classes at the beginning, with a dagger.
        common: Classes at the end, with an asterisk.
        path: The PNG file to write.
    """
    classes = rare_first(classes, rare, common)
    num_rows = math.ceil(len(classes) / _COLUMNS)
    num_columns = math.ceil(len(classes) / num_rows)
    width = max(5.0, num_columns * _PANEL[0])
    with drawing(path, width, num_rows * (_PANEL[1] + 0.4) + 0.6) as figure:
        panels = figure.subplots(num_rows, num_columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, name, label in zip(panels, classes, class_labels(classes, rare, common), strict=False):
            pr_panel(axes, runs, name, label)
        for axes in panels[len(classes) :]:
            axes.set_axis_off()
        for axes in panels[max(0, len(classes) - num_columns) : len(classes)]:
            axes.tick_params(labelbottom=True)
        figure.supxlabel("recall (%)", fontsize=9)
        figure.supylabel("precision (%)", fontsize=9)
        handles, titles = _key(runs, int(width / 0.15))
        figure.legend(handles, titles, loc="outside upper left", ncols=2, frameon=False)


def pr_panel(axes: Axes, runs: Sequence[Run], name: str, label: str) -> None:
    """Draw the curves of one class; AP in its legend is the mean over folds in percent, as in tables.

    Args:
        axes: To draw into.
        runs: At most two.
        name: The class.
        label: Its name in the title.
    """
    handles, texts, shares, tested = [], [], [], 0
    for run, colour, line in zip(runs, colours(len(runs)), _LINES[-len(runs) :], strict=True):
        folds = _of_class(run, name)
        tested = max(tested, sum(int(is_class.sum()) for is_class, _ in folds))
        if not folds:
            continue
        shares += [is_class.mean() for is_class, _ in folds]
        curves = [pr_curve(*fold) for fold in folds]
        mean, deviation = mean_curve(curves)
        for curve in curves if len(curves) > 1 else []:
            _step(axes, curve, color=colour, linewidth=0.6, alpha=0.35)
        handles.append(_step(axes, mean, color=colour, linewidth=1.6, linestyle=line, zorder=3))
        x = np.r_[0.0, mean.recall]
        low, high = (np.clip(mean.precision + sign * deviation, 0, 1) for sign in (-1, 1))
        if len(curves) > 1:
            low, high = np.r_[low[:1], low], np.r_[high[:1], high]
            axes.fill_between(x, low, high, step="pre", color=colour, alpha=0.16, linewidth=0)
        texts.append(_average_precision(class_scores(run, name)))
    if shares:
        axes.axhline(float(np.mean(shares)), **_CHANCE)
    else:
        axes.text(0.5, 0.5, "no test cell", ha="center", va="center", fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xticks=_TICKS, yticks=_TICKS)
    axes.set(xticklabels=_PERCENT, yticklabels=_PERCENT)
    axes.grid(color="#EEEEEE", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(
        handles, texts, title=f"{label}, {tested} test cells", loc="lower left", bbox_to_anchor=(-0.02, 0.99),
        ncols=2, frameon=False, alignment="left", fontsize=7, title_fontsize=8, handlelength=1.4, handletextpad=0.4,
        columnspacing=0.9, borderaxespad=0, borderpad=0.2,
    )  # fmt: skip


def _of_class(run: Run, name: str) -> list[tuple[NDArray[np.bool_], FloatArray]]:
    """Whether each test cell is of the class and its probability, of each fold that has one of the class."""
    found = []
    for result in run.folds.values():
        is_class = result.predictions["label"].to_numpy(str) == name
        if is_class.any():
            found.append((is_class, result.predictions[f"{PROBABILITY_PREFIX}{name}"].to_numpy(float)))
    return found


def _step(axes: Axes, curve: Curve, **style: Any) -> Line2D:
    x, y = np.r_[0.0, curve.recall], np.r_[curve.precision[:1], curve.precision]
    return axes.step(x, y, where="pre", **style)[0]


def _average_precision(scores: Sequence[float]) -> str:
    mean, deviation = mean_and_deviation([100 * score for score in scores])
    return f"AP {mean:.1f}" + ("" if math.isnan(deviation) else f" \N{PLUS-MINUS SIGN} {deviation:.1f}")


def _key(runs: Sequence[Run], letters: int) -> tuple[list[Line2D | Patch], list[str]]:
    """What the lines mean."""
    pairs = zip(runs, colours(len(runs)), _LINES[-len(runs) :], strict=True)
    handles: list[Line2D | Patch] = [Line2D([], [], color=colour, linestyle=line) for _, colour, line in pairs]
    titles = [wrapped(run.title, letters // 2) for run in runs]
    if max(len(run.folds) for run in runs) > 1:
        handles.append(Patch(color="#888888", alpha=0.3))
        titles.append("one sample sd over folds; faint: each fold")
    return [*handles, Line2D([], [], **_CHANCE)], [*titles, "chance: share of the class"]
