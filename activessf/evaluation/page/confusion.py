"""Confusion matrices whose cells can be opened."""

from __future__ import annotations

from typing import Any

import numpy as np

from activessf.evaluation.page.cells import IntArray, Predicted


def confusion_counts(predicted: Predicted, num_classes: int) -> IntArray:
    """Number of cells of each true class (row) and predicted class (column), (classes, classes)."""
    places = predicted.true * num_classes + predicted.predicted
    return np.bincount(places, minlength=num_classes**2).reshape(num_classes, num_classes)


def shown_cells(predicted: Predicted, num_classes: int, most: int) -> dict[tuple[int, int], IntArray]:
    """Which cells a confusion matrix shows when one of its cells (true, predicted) is opened.

    Of mistakes those that the network is surest of come first; of hits those that it is least sure of, since there is
    more to see in them.

    Args:
        predicted: Predictions of one run.
        num_classes: Number of classes.
        most: As many are shown of a cell of the matrix, at most.

    Returns:
        Rows of `predicted` in order, of every pair of classes that has any.
    """
    certainty = predicted.certainty
    surest = np.where(predicted.true == predicted.predicted, certainty, -certainty)
    order = np.lexsort((np.arange(len(surest)), surest))
    places = (predicted.true * num_classes + predicted.predicted)[order]
    return {divmod(int(place), num_classes): order[places == place][:most] for place in np.unique(places)}


def matrix_rows(predicted: Predicted, num_classes: int) -> list[dict[str, Any]]:
    """The matrix for the template: a row a true class, with its number of cells, and each count with its share."""
    counts = confusion_counts(predicted, num_classes)
    totals = counts.sum(axis=1)
    return [
        {
            "true": true,
            "total": int(totals[true]),
            "cells": [
                {"predicted": column, "count": int(count), "share": count / totals[true] if totals[true] else 0.0}
                for column, count in enumerate(counts[true])
            ],
        }
        for true in range(num_classes)
    ]
