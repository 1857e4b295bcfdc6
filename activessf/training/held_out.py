"""Labeled cells that are held out of a training, and how well they are predicted."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, average_precision_score, f1_score
from sklearn.model_selection import StratifiedGroupKFold

Targets = NDArray[np.int64]
Rows = NDArray[np.intp]


class Split(NamedTuple):
    """Labeled cells in two parts.

    Attributes:
        known: Rows that are learned from.
        held_out: Rows whose classes are predicted.
    """

    known: Rows
    held_out: Rows


def split(targets: Targets, groups: Sequence[str], share: float, seed: int) -> Split | None:
    """Hold out about a share of the rows, stratified by class, no group on both sides.

    Args:
        targets: Class index of each row, (n,).
        groups: Group (patient, slide) of each row; an empty one is unknown, and the row a group of its own.
        share: In (0, 0.5].
        seed: Of the shuffling.

    Returns:
        The parts; None where there are too few groups, or no class has two rows.
    """
    numbers: dict[str | int, int] = {}
    members = [numbers.setdefault(group or row, len(numbers)) for row, group in enumerate(groups)]
    most_of_a_class = int(np.bincount(targets).max(initial=0))
    parts = min(round(1 / share), len(numbers), most_of_a_class)
    if parts < 2:
        return None
    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # it is held out or known, either will do
        for known, held_out in folds.split(members, targets, members):
            if len(known) and len(held_out):
                return Split(known, held_out)
    return None


def scores(predictions: Targets, truth: Targets) -> tuple[float, float]:
    """Accuracy, and F1 as the unweighted mean over the classes that are among the true ones; 0-1."""
    f1 = f1_score(truth, predictions, labels=np.unique(truth), average="macro", zero_division=0)
    return float(accuracy_score(truth, predictions)), float(f1)


def pr_auc(probabilities: NDArray[np.floating], truth: Targets) -> float:
    """One-vs-rest average precision, the unweighted mean over the classes that are among the true ones; 0-1.

    Args:
        probabilities: (n, classes).
        truth: Class indices, (n,).
    """
    return float(np.mean([average_precision_score(truth == k, probabilities[:, k]) for k in np.unique(truth)]))
