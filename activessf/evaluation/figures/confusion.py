"""A confusion matrix in a panel of a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from activessf.evaluation.figures.style import width_of
from activessf.evaluation.runs import Run

_LONG_NAME = 12  # letters; slanted, longer names would push the panels apart


def confusion_counts(run: Run, classes: Sequence[str]) -> NDArray[np.int_]:
    """Test cells by true class (row) and predicted class (column) over all folds of a run, (classes, classes)."""
    position = {name: index for index, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), int)
    for result in run.folds.values():
        rows, columns = (result.predictions[column].map(position).to_numpy(int) for column in ("label", "predicted"))
        np.add.at(counts, (rows, columns), 1)
    return counts


def confusion_panel(axes: Axes, counts: NDArray[np.int_], labels: Sequence[str], rows_named: bool) -> AxesImage:
    """Draw a matrix: each cell with its percentage of the true class (row) and, below it, its number of test cells.

    Args:
        axes: To draw into.
        counts: Test cells, (classes, classes), see `confusion_counts`.
        labels: What stands at the axes for each class.
        rows_named: Whether the true classes are named, which one panel of a row need do.

    Returns:
        The matrix of shares in 0..1, for a colour bar.
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts > 0):
        share = shares[row, column]
        colour = "white" if share > 0.55 else "black"
        text = f"{share:.0%}\n{counts[row, column]}"
        axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)
    for row in np.flatnonzero(totals == 0).tolist():
        axes.text((len(labels) - 1) / 2, row, "no test cell", ha="center", va="center", fontsize=6.5, color="#666666")
    if max(map(width_of, labels)) > _LONG_NAME:
        axes.set_xticks(range(len(labels)), labels, rotation=90)
    else:
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels if rows_named else [""] * len(labels))
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class" if rows_named else "")
    axes.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#E5E5E5", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[["top", "right"]].set_visible(True)
    return image
