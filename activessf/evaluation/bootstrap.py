"""Bootstrap of average precision over patients, slides or images: whole units are drawn with replacement."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Cells times resamples that are worked on at once; bounds memory to some hundred megabytes.
_AT_ONCE = 10_000_000


def resampling_units(predictions: pd.DataFrame) -> NDArray[np.str_]:
    """The unit of each cell, (cells,): its group (patient or slide) where one is given, else its image.

    Cells of one patient or image resemble each other, so that drawing single cells would give intervals too narrow.
    """
    groups = predictions["group"].to_numpy(str)
    images = predictions["image"].to_numpy(str)
    return np.where(groups == "", np.char.add("image ", images), np.char.add("group ", groups))


def resampled_average_precision(
    labels: NDArray[np.str_],
    probabilities: NDArray[np.float64],
    classes: list[str],
    units: NDArray[np.str_],
    num_resamples: int,
    seed: int,
) -> NDArray[np.float64]:
    """One-vs-rest average precision of each class in each resample of the units.

    With the same set of units and seed, whatever the order of rows, the resamples are the same: so differences of two
    classifiers are those of the same draws.

    Args:
        labels: True class of each cell, (n,).
        probabilities: (n, classes).
        classes: Class names, in the order of the columns of `probabilities`.
        units: Unit of each cell, (n,).
        num_resamples: Number of resamples, each of as many units as there are.
        seed: Seed of the draws.

    Returns:
        (resamples, classes) in 0..1; NaN where a resample has no cell of the class.
    """
    names, unit_of_cell = np.unique(units, return_inverse=True)
    parts = []
    for counts in _unit_counts(len(names), len(labels), num_resamples, seed):
        weights = counts[:, unit_of_cell]
        parts.append(
            np.column_stack(
                [
                    weighted_average_precision(labels == name, probabilities[:, index], weights)
                    for index, name in enumerate(classes)
                ]
            )
        )
    return np.concatenate(parts) if parts else np.empty((0, len(classes)))


def weighted_average_precision(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], weights: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Average precision of the same scores under many weightings of the cells.

    Equal to scikit-learn's `average_precision_score` of each row of weights; cells of equal score count at once.

    Args:
        positive: Whether a cell is of the class, (n,).
        scores: Probability of the class, (n,).
        weights: How often each cell counts, (resamples, n).

    Returns:
        (resamples,); NaN where no positive cell has a weight.
    """
    if not positive.any():
        return np.full(len(weights), np.nan)
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order], positive[order]
    hits = np.flatnonzero(positive)
    # Recall rises only at scores that a positive cell has: cells are added up from one such score to the next.
    new_score = np.append(True, scores[hits][1:] != scores[hits][:-1])
    ends = np.searchsorted(-scores, -scores[hits][new_score], side="right")
    starts = np.append(0, ends[:-1])
    gained = np.add.reduceat(weights[:, order[hits]], np.flatnonzero(new_score), axis=1, dtype=np.int64)
    added = np.add.reduceat(weights[:, order[: ends[-1]]], starts, axis=1, dtype=np.int64)
    found, seen = gained.cumsum(axis=1), added.cumsum(axis=1)
    precision = np.divide(found, seen, out=np.zeros(found.shape), where=seen > 0)
    total = found[:, -1].astype(float)
    score = np.full(len(weights), np.nan)
    np.divide((gained * precision).sum(axis=1), total, out=score, where=total > 0)
    return score


def _unit_counts(num_units: int, num_cells: int, num_resamples: int, seed: int) -> Iterator[NDArray[np.int32]]:
    """How often each unit is drawn, (some resamples, units), until there are `num_resamples`."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _AT_ONCE // num_cells)
    for start in range(0, num_resamples, at_once):
        size = min(at_once, num_resamples - start)
        drawn = rng.integers(num_units, size=(size, num_units)) + num_units * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * num_units)
        yield counts.reshape(size, num_units).astype(np.int32)
