"""What a page holds so that its script can show cells: pictures, names and probabilities, each cell once."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from activessf.evaluation.page.cells import IntArray, Predicted
from activessf.evaluation.page.confusion import shown_cells
from activessf.evaluation.page.mistakes import agreement, confident_mistakes
from activessf.evaluation.page.pictures import chosen_pictures, pictures
from activessf.manifests import BOX

_TOP = 3
_DIGITS = 4  # of a probability


@dataclass(frozen=True)
class Limits:
    """How much of the cells a page holds.

    Attributes:
        shown: Cells shown of each cell of a confusion matrix, at most.
        mistakes: Confident mistakes shown of each class and run, at most.
        pictures: Pictures on a page, at most; each has at most `pictures.MOST_BYTES`, a third more as text.
    """

    shown: int = 12
    mistakes: int = 8
    pictures: int = 1500


def page_data(
    predictions: Sequence[Predicted],
    cells: pd.DataFrame,
    classes: Sequence[str],
    files: Sequence[Path | None],
    limits: Limits,
) -> dict[str, Any]:
    """Everything that the page's script shows of cells, as JSON values.

    Args:
        predictions: Of the runs, in the order of the page.
        cells: The section's cells.
        classes: Class names.
        files: File of each cell's crop, None where there is none.
        limits: How much is held.

    Returns:
        `classes`; `cells`: image, box, group, fold, label, picture (-1: none), runs that are wrong about it, runs that
        tested it; `pictures`: JPEG in base64; `runs`: by run the `confusion` (key "true,predicted") and `mistakes` (by
        true class), lists of [cell, [class, probability, ... of the three most probable], probability of the label].
    """
    matrices = [shown_cells(predicted, len(classes), limits.shown) for predicted in predictions]
    mistakes = [confident_mistakes(predicted, len(classes), limits.mistakes) for predicted in predictions]
    wanted = _wanted(predictions, matrices, mistakes)
    drawn = pictures(chosen_pictures(wanted, files, limits.pictures), files)
    used = sorted({cell for _, _, cell in wanted})
    number = {cell: place for place, cell in enumerate(used)}
    picture_number = {cell: place for place, cell in enumerate(drawn)}
    wrong, tested = agreement(predictions, len(cells))

    def listed(predicted: Predicted, rows: IntArray) -> list[list[Any]]:
        return [_row(predicted, row, number) for row in rows]

    return {
        "classes": list(classes),
        "cells": [
            [*_described(cells, cell, classes), picture_number.get(cell, -1), int(wrong[cell]), int(tested[cell])]
            for cell in used
        ],
        "pictures": [base64.b64encode(picture).decode("ascii") for picture in drawn.values()],
        "runs": [
            {
                "confusion": {f"{true},{wrong}": listed(predicted, rows) for (true, wrong), rows in matrix.items()},
                "mistakes": [listed(predicted, rows) for rows in own],
            }
            for predicted, matrix, own in zip(predictions, matrices, mistakes, strict=True)
        ],
    }


def _wanted(
    predictions: Sequence[Predicted],
    matrices: Sequence[Mapping[tuple[int, int], IntArray]],
    mistakes: Sequence[Sequence[IntArray]],
) -> list[tuple[int, int, int]]:
    """The cells to be shown, see `chosen_pictures`: confident mistakes first, then other mistakes, then hits."""
    lists = [
        *((0, predicted, rows) for predicted, own in zip(predictions, mistakes, strict=True) for rows in own),
        *(
            (1 if true != wrong else 2, predicted, rows)
            for predicted, matrix in zip(predictions, matrices, strict=True)
            for (true, wrong), rows in matrix.items()
        ),
    ]
    return [(tier, rank, int(predicted.cells[row])) for tier, predicted, rows in lists for rank, row in enumerate(rows)]


def _row(predicted: Predicted, row: int, number: Mapping[int, int]) -> list[Any]:
    probabilities = predicted.probabilities[row]
    top = np.argsort(-probabilities, kind="stable")[:_TOP]
    pairs = [item for place in top for item in (int(place), round(float(probabilities[place]), _DIGITS))]
    of_label = round(float(probabilities[predicted.true[row]]), _DIGITS)
    return [number[int(predicted.cells[row])], pairs, of_label]


def _described(cells: pd.DataFrame, cell: int, classes: Sequence[str]) -> list[Any]:
    row = cells.iloc[cell]
    x, y, width, height = (row[side] for side in BOX)
    box = f"{width:g} x {height:g} at {x:g}, {y:g}" if width > 0 else ""
    group = "" if pd.isna(row["group"]) else str(row["group"])
    return [str(row["image"]), box, group, int(row["fold"]), classes.index(row["label"])]
