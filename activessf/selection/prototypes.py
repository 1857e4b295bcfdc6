"""Prototypes of the labeled cells: K-means centres of their features (Eq. 4-6)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from activessf.errors import InputError
from activessf.selection.strategy import FloatArray, IntArray

_RESTARTS = 10
_CHUNK = 10_000


@dataclass(frozen=True)
class Prototypes:
    """K cluster centres and which of them owns each labeled feature.

    Attributes:
        centres: (K, d), the mean of each cluster's members (Eq. 6).
        members: Prototype of each labeled feature, (n,), in 0 .. K-1; every prototype owns one at least.
    """

    centres: FloatArray
    members: IntArray

    @property
    def sizes(self) -> IntArray:
        """Number of labeled features of each prototype (n_i of Eq. 8), (K,)."""
        return np.bincount(self.members, minlength=len(self.centres))


def kmeans_prototypes(features: FloatArray, num_prototypes: int, seed: int) -> Prototypes:
    """K-means over all labeled features, whatever their classes (paper II.C.1; K = 11 there).

    Args:
        features: (n, d).
        num_prototypes: K.
        seed: Seed of the K-means starts.

    Raises:
        InputError: K is larger than the number of features.
    """
    if not 1 <= num_prototypes <= len(features):
        raise InputError(
            f"selection.num_prototypes={num_prototypes} prototypes can't be made of {len(features)} labeled cells; "
            "it must lie between 1 and their number."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said below, in the words of this stage
        fitted = KMeans(num_prototypes, n_init=_RESTARTS, random_state=seed).fit(features)
    owners, members = np.unique(fitted.labels_, return_inverse=True)
    if len(owners) < num_prototypes:
        warnings.warn(
            f"The labeled cells have only {len(owners)} distinct features, so there are {len(owners)} prototypes "
            f"instead of {num_prototypes}.",
            stacklevel=2,
        )
    return Prototypes(fitted.cluster_centers_[owners], members)


def per_class_prototypes(
    features: FloatArray, labels: NDArray[np.str_], classes: list[str], per_class: int, seed: int
) -> Prototypes:
    """K-means inside every class, so that a prototype is of one subtype (README, Faithfulness).

    A class with fewer cells than `per_class` gets as many prototypes as it has cells; one without cells gets none.

    Args:
        features: (n, d).
        labels: Class of each, (n,).
        classes: All classes.
        per_class: Prototypes a class, >= 1.
        seed: Seed of the K-means starts.
    """
    centres: list[FloatArray] = []
    members = np.full(len(features), -1)
    for name in classes:
        own = np.flatnonzero(labels == name)
        if len(own) == 0:
            continue
        found = kmeans_prototypes(features[own], min(per_class, len(own)), seed)
        members[own] = found.members + sum(map(len, centres))
        centres.append(found.centres)
    return Prototypes(np.concatenate(centres), members)


def distances(features: FloatArray, centres: FloatArray) -> FloatArray:
    """Euclidean distance of every feature to every centre (Eq. 7), (n, K).

    Computed from differences, not from squares and dot products, whose cancellation would blur small distances; a
    chunk of features at a time, since there may be millions.
    """
    result = np.empty((len(features), len(centres)))
    for start in range(0, len(features), _CHUNK):
        chunk = np.asarray(features[start : start + _CHUNK], np.float64)
        for k, centre in enumerate(centres):
            result[start : start + _CHUNK, k] = np.linalg.norm(chunk - centre, axis=1)
    return result
