"""How well features tell classes apart: a k-NN and a linear classifier, on labeled cells that are held out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from activessf.training.watching.features import Features

_ITERATIONS = 1000  # of the linear classifier, at most

Targets = NDArray[np.int64]
Rows = NDArray[np.intp]


class Split(NamedTuple):
    """Labeled cells in two parts.

    Attributes:
        known: Rows whose classes are known to the probe.
        held_out: Rows whose classes are predicted.
    """

    known: Rows
    held_out: Rows


def thinned(targets: Targets, most: int, seed: int) -> Rows:
    """At most so many rows, ascending, taken from the classes by turns: rare classes stay whole.

    Args:
        targets: Class index of each row, (n,).
        most: How many.
        seed: Of the draw within a class.
    """
    order = np.random.default_rng(seed).permutation(len(targets))
    turns = np.empty(len(targets), np.int64)
    for target in np.unique(targets):
        own = order[targets[order] == target]
        turns[own] = np.arange(len(own))
    return np.sort(order[np.argsort(turns[order], kind="stable")][:most])


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


def knn_predictions(features: Features, targets: Targets, parts: Split, neighbours: int, temperature: float) -> Targets:
    """Classes of the held-out rows by a vote of the nearest ones by cosine, each of weight exp(similarity / T).

    As in instance discrimination (Wu et al., CVPR 2018, arXiv 1805.01978, section 3.4) and DINO, but that features are
    standardised first, as for the linear classifier: those of a masked autoencoder share a large mean, which makes
    every cosine nearly 1 and hides what sets cells apart.

    Args:
        features: (n, d).
        targets: Class index of each row, (n,).
        parts: Known and held-out rows.
        neighbours: How many vote; all that are known if they are fewer.
        temperature: T.
    """
    classifier = KNeighborsClassifier(
        min(neighbours, len(parts.known)),
        metric="cosine",
        # distance = 1 - similarity, and the factor exp(1 / T) is the same for all
        weights=lambda distances: np.exp(-distances / temperature),
    )
    scaler = StandardScaler().fit(features[parts.known])
    classifier.fit(scaler.transform(features[parts.known]), targets[parts.known])
    predictions: Targets = classifier.predict(scaler.transform(features[parts.held_out]))
    return predictions


def linear_predictions(features: Features, targets: Targets, parts: Split) -> Targets:
    """Classes of the held-out rows by logistic regression on features that are standardised.

    Args:
        features: (n, d).
        targets: Class index of each row, (n,).
        parts: Known and held-out rows.
    """
    known = targets[parts.known]
    if len(np.unique(known)) == 1:
        return np.full(len(parts.held_out), known[0])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough to watch
        classifier.fit(features[parts.known].astype(np.float64), known)
    predictions: Targets = classifier.predict(features[parts.held_out].astype(np.float64))
    return predictions


def scores(predictions: Targets, truth: Targets) -> tuple[float, float]:
    """Accuracy, and F1 as the unweighted mean over the classes that are among the true ones; 0-1."""
    f1 = f1_score(truth, predictions, labels=np.unique(truth), average="macro", zero_division=0)
    return float(accuracy_score(truth, predictions)), float(f1)
