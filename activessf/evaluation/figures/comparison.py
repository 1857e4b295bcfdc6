"""Confusion matrices and PR-AUC by class of a run and its baseline in one figure (Fig. 3 of the paper)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from matplotlib.patches import Patch

from activessf.evaluation.figures.class_scores import pr_auc_panel
from activessf.evaluation.figures.confusion import confusion_counts, confusion_panel
from activessf.evaluation.figures.style import class_labels, colours, drawing, rare_first, width_of, wrapped
from activessf.evaluation.runs import Run

_CELL = 0.42  # inches, of a confusion matrix
_LETTER = 0.075  # inches
_BARS = 2.7  # inches, height of the bars


def comparison(
    runs: Sequence[Run], classes: Sequence[str], rare: Collection[str], common: Collection[str], path: Path
) -> None:
    """Draw (a) the confusion of the first run, (b) that of the second, (c) PR-AUC by class, as PNG and PDF.

    Confusion is pooled over folds: every test cell counts once. PR-AUC is the mean over folds with its sample standard
    deviation. All panels have the rare classes first.

    Args:
        runs: The baseline and the run, or one run alone.
        classes: Classes in the order of tables.
        rare: Classes at the beginning, with a dagger, on a tinted ground among the bars.
        common: Classes at the end, with an asterisk.
        path: The PNG file to write.
    """
    classes = rare_first(classes, rare, common)
    labels = class_labels(classes, rare, common)
    side = max(2.6, _CELL * len(classes))
    names = _LETTER * max(map(width_of, labels))
    width, top = max(6.5, side * len(runs) + names + 1.4), side + names + 0.9
    letters = iter("abc")
    with drawing(path, width, top + _BARS + 0.4 * names) as figure:
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(top, _BARS + 0.4 * names))[:, 0]
        panels = upper.subplots(1, len(runs), squeeze=False)[0]
        for column, (run, axes) in enumerate(zip(runs, panels, strict=True)):
            image = confusion_panel(axes, confusion_counts(run, classes), labels, rows_named=column == 0)
            title = f"({next(letters)}) {run.title}, {_folds(run)}"
            axes.set_title(wrapped(title, int(side / _LETTER)), loc="left", fontsize=9.5)
        colour_bar = upper.colorbar(image, ax=panels, shrink=0.6, pad=0.01, format="{x:.0%}")
        colour_bar.set_label("share of the true class")
        bars = lower.subplots()
        pr_auc_panel(bars, runs, classes, labels, rare)
        bars.set_title(f"({next(letters)}) PR-AUC by class", loc="left", fontsize=9.5)
        if len(runs) > 1:
            lower.legend(
                [Patch(color=colour) for colour in colours(len(runs))],
                [wrapped(run.title, int(width / len(runs) / _LETTER) - 8) for run in runs],
                loc="outside lower center",
                ncols=2,
                frameon=False,
            )


def _folds(run: Run) -> str:
    numbers = list(run.folds)
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"folds {numbers[0]} to {numbers[-1]}"
    return f"fold{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
