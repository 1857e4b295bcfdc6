"""PR-AUC of each class as grouped bars."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from activessf.evaluation.figures.style import RARE, class_labels, colours, drawing, rare_first, width_of, wrapped
from activessf.evaluation.runs import Run
from activessf.evaluation.statistics import mean_and_deviation

_LONG_NAME = 9  # letters; longer ones are slanted


def pr_auc_by_class(
    runs: Sequence[Run], classes: Sequence[str], rare: Collection[str], common: Collection[str], path: Path
) -> None:
    """Draw PR-AUC of each class for several runs, rare classes first, as PNG and PDF.

    Args:
        runs: The runs, one bar a class each; seven at most, since there are seven colours.
        classes: Classes in the order of tables.
        rare: Classes on the left, on a tinted ground.
        common: Classes on the right.
        path: The PNG file to write.
    """
    classes = rare_first(classes, rare, common)
    with drawing(path, max(6.0, 1.2 + len(classes) * (0.25 + 0.13 * len(runs))), 3.6) as figure:
        axes = figure.subplots()
        pr_auc_panel(axes, runs, classes, class_labels(classes, rare, common), rare)
        figure.legend(
            [Patch(color=colour) for colour in colours(len(runs))],
            [wrapped(run.title, 60) for run in runs],
            loc="outside upper left",
            ncols=1 if max(len(run.title) for run in runs) > 40 else 2,
            frameon=False,
        )


def pr_auc_panel(
    axes: Axes, runs: Sequence[Run], classes: Sequence[str], labels: Sequence[str], rare: Collection[str]
) -> None:
    """Draw a group of bars a class: means over folds in percent, with the sample standard deviation as whiskers.

    A class without a test cell in any fold of a run has no bar there. Up to two runs have their means written above.

    Args:
        axes: To draw into.
        runs: One bar a class each.
        classes: Rare ones first.
        labels: What stands at the axis for each class.
        rare: Classes on a tinted ground.
    """
    width = 0.8 / len(runs)
    reach = 0.0
    for index, (run, colour) in enumerate(zip(runs, colours(len(runs)), strict=True)):
        scores = np.array([mean_and_deviation(class_scores(run, name)) for name in classes]) * 100  # (classes, 2)
        tops = np.nansum(scores, axis=1)
        reach = max(reach, *tops)
        places = np.arange(len(classes)) + (index + 0.5) * width - 0.4
        axes.bar(places, scores[:, 0], 0.92 * width, color=colour)
        spread = ~np.isnan(scores[:, 1])
        axes.errorbar(
            places[spread], scores[spread, 0], scores[spread, 1], fmt="none", ecolor="#222222", elinewidth=1, capsize=2
        )
        for place, mean, top in zip(places, scores[:, 0], tops, strict=True):
            if len(runs) <= 2 and not np.isnan(mean):
                axes.text(place, top + 1.5, f"{mean:.0f}", ha="center", va="bottom", fontsize=7)
    num_rare = sum(name in rare for name in classes)
    if 0 < num_rare < len(classes):
        axes.axvspan(-0.5, num_rare - 0.5, color=RARE, alpha=0.08, linewidth=0, zorder=0)
    if max(map(width_of, labels)) > _LONG_NAME:
        axes.set_xticks(range(len(classes)), labels, rotation=35, ha="right", rotation_mode="anchor")
    else:
        axes.set_xticks(range(len(classes)), labels)
    axes.set_xlim(-0.5, len(classes) - 0.5)
    axes.set_ylim(0, max(100, reach + 10))  # whiskers may pass 100
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("PR-AUC (%)")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)


def class_scores(run: Run, name: str) -> list[float]:
    """PR-AUC of a class, 0..1, in each fold that has a test cell of it."""
    found = (result.metrics.get(f"pr_auc/{name}") for result in run.folds.values())
    return [value for value in found if isinstance(value, float)]
