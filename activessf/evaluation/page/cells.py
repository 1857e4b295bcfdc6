"""The test cells of a section, every one once, and what each run said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from activessf.evaluation.runs import Run
from activessf.manifests import BOX, PROBABILITY_PREFIX

IntArray = NDArray[np.intp]

# What a cell is known by, here and in the cells' stage; `copy` tells apart cells that are labeled twice.
KEY = ("image", *BOX, "label", "copy")


@dataclass(frozen=True)
class Predicted:
    """What one run said of its test cells, folds pooled.

    Attributes:
        cells: Row of each cell in the section's table of cells, (n,).
        true: Class index of its label, (n,).
        predicted: Class index of what was predicted, (n,).
        probabilities: (n, classes), rows summing to 1.
    """

    cells: IntArray
    true: IntArray
    predicted: IntArray
    probabilities: NDArray[np.float64]

    @property
    def certainty(self) -> NDArray[np.float64]:
        """Probability of the class that was predicted, (n,)."""
        certainty: NDArray[np.float64] = self.probabilities[np.arange(len(self.predicted)), self.predicted]
        return certainty


def pooled_predictions(runs: Sequence[Run], classes: Sequence[str]) -> tuple[pd.DataFrame, list[Predicted]]:
    """The distinct test cells of some runs, and the predictions of each run.

    Args:
        runs: Runs of one section: their folds of one number hold the same cells.
        classes: All their classes; a class that a run does not know has probability 0 there.

    Returns:
        A row a cell: `KEY` (a missing box is -1), group and fold; and one `Predicted` a run.
    """
    parts = []
    for number, run in enumerate(runs):
        for fold, result in run.folds.items():
            part = with_copies(result.predictions).assign(fold=fold, run=number)
            columns = [f"{PROBABILITY_PREFIX}{name}" for name in classes]
            parts.append(part.reindex(columns=[*KEY, "group", "fold", "run", "predicted", *columns], fill_value=0.0))
    everything = pd.concat(parts, ignore_index=True)
    everything["cell"] = everything.groupby(["fold", *KEY], sort=False).ngroup()
    cells = everything.drop_duplicates("cell")[[*KEY, "group", "fold"]].reset_index(drop=True)
    known = pd.Index(classes)
    predictions = [
        Predicted(
            cells=part["cell"].to_numpy(np.intp),
            true=known.get_indexer(part["label"]),
            predicted=known.get_indexer(part["predicted"]),
            probabilities=part[columns].to_numpy(np.float64),
        )
        for _, part in everything.groupby("run", sort=True)
    ]
    return cells, predictions


def with_copies(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with all columns of `KEY`, by which it can be joined: boxes as numbers, equal rows counted."""
    frame = frame.assign(**{side: frame[side].astype(float).fillna(-1.0) for side in BOX})
    return frame.assign(copy=frame.groupby(["image", *BOX, "label"], sort=False).cumcount())
