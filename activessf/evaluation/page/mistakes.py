"""The mistakes that a network is surest of: among them are the labels that are wrong themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from activessf.evaluation.page.cells import IntArray, Predicted
from activessf.evaluation.runs import Run
from activessf.manifests import BOX

MISTAKES_FILE = "confident_mistakes.csv"
_COLUMNS = (
    "run", "label", "predicted", "probability", "probability_of_label", "image", *BOX, "group", "fold",
    "runs_wrong", "runs_tested",
)  # fmt: skip


def confident_mistakes(predicted: Predicted, num_classes: int, most: int) -> list[IntArray]:
    """The mistakes of one run with the highest probability of the wrong class, by true class.

    Args:
        predicted: Predictions of one run.
        num_classes: Number of classes.
        most: As many of a class, at most.

    Returns:
        Rows of `predicted` for each class, the surest first.
    """
    certainty = predicted.certainty
    order = np.argsort(-certainty, kind="stable")
    order = order[predicted.true[order] != predicted.predicted[order]]
    return [order[predicted.true[order] == true][:most] for true in range(num_classes)]


def agreement(predictions: Sequence[Predicted], num_cells: int) -> tuple[IntArray, IntArray]:
    """How many runs are wrong about each cell, and how many have tested it, (cells,) each.

    A label that several networks contradict is more likely to be wrong than one that a single network does.
    """
    wrong, tested = np.zeros(num_cells, np.intp), np.zeros(num_cells, np.intp)
    for predicted in predictions:
        np.add.at(tested, predicted.cells, 1)
        np.add.at(wrong, predicted.cells, predicted.true != predicted.predicted)
    return wrong, tested


def mistakes_table(
    runs: Sequence[Run], predictions: Sequence[Predicted], cells: pd.DataFrame, classes: Sequence[str], most: int
) -> pd.DataFrame:
    """All of `confident_mistakes` as one table, a row a run and cell, for those who go through the labels.

    Args:
        runs: Runs of one section.
        predictions: Theirs, in the same order.
        cells: The section's cells.
        classes: Class names.
        most: As many of a run and class, at most.
    """
    wrong, tested = agreement(predictions, len(cells))
    rows = []
    for run, predicted in zip(runs, predictions, strict=True):
        for found in confident_mistakes(predicted, len(classes), most):
            of_cells = predicted.cells[found]
            part = cells.iloc[of_cells].assign(
                run=run.title,
                predicted=[classes[index] for index in predicted.predicted[found]],
                probability=predicted.certainty[found],
                probability_of_label=predicted.probabilities[found, predicted.true[found]],
                runs_wrong=wrong[of_cells],
                runs_tested=tested[of_cells],
            )
            rows.append(part[list(_COLUMNS)])
    return pd.concat(rows, ignore_index=True)
