"""How well features tell classes apart: a k-NN and a linear classifier, on labeled cells that are held out."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from activessf.training.classifiers import knn_classifier, linear_classifier
from activessf.training.held_out import Rows, Split, Targets
from activessf.training.watching.features import Features


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


def knn_predictions(features: Features, targets: Targets, parts: Split, neighbours: int, temperature: float) -> Targets:
    """Classes of the held-out rows by their neighbours among the known ones, see `classifiers.NearestNeighbours`.

    Args:
        features: (n, d).
        targets: Class index of each row, (n,).
        parts: Known and held-out rows.
        neighbours: How many vote; all that are known if they are fewer.
        temperature: T.
    """
    classifier = knn_classifier(len(parts.known), neighbours, temperature)
    classifier.fit(features[parts.known], targets[parts.known])
    predictions: Targets = classifier.predict(features[parts.held_out])
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
    classifier = linear_classifier()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough to watch
        classifier.fit(features[parts.known].astype(np.float64), known)
    predictions: Targets = classifier.predict(features[parts.held_out].astype(np.float64))
    return predictions
