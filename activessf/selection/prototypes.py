"""Prototypes of the labeled cells: K-means centres of their features (Eq. 4-6), and distances to them (Eq. 7)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from activessf.errors import InputError
from activessf.selection.rows import canonical_order, chunks
from activessf.selection.strategy import FloatArray, IntArray

_RESTARTS = 10


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
        InputError: K is larger than the number of features, or a feature is not finite.
    """
    if not 1 <= num_prototypes <= len(features):
        raise InputError(
            f"selection.num_prototypes={num_prototypes} prototypes can't be made of {len(features)} labeled cells; "
            "it must lie between 1 and their number."
        )
    _check_finite(features, "labeled cells")
    order = canonical_order(features)
    with warnings.catch_warnings(), threadpool_limits(1):  # threads would add up in an order of their own
        warnings.simplefilter("ignore", ConvergenceWarning)  # said below, in the words of this stage
        fitted = KMeans(num_prototypes, n_init=_RESTARTS, random_state=seed).fit(features[order])
    owners, ordered_members = np.unique(fitted.labels_, return_inverse=True)
    if len(owners) < num_prototypes:
        warnings.warn(
            f"The labeled cells have only {len(owners)} distinct features, so there are {len(owners)} prototypes "
            f"instead of {num_prototypes}.",
            stacklevel=2,
        )
    members = np.empty(len(features), int)
    members[order] = ordered_members
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

    Raises:
        InputError: `per_class` is below 1, or a feature is not finite.
    """
    if per_class < 1:
        raise InputError(f"selection.prototypes_per_class={per_class} must be 1 or more.")
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

    Raises:
        InputError: A feature is not finite.
    """
    return np.concatenate([np.zeros((0, len(centres))), *(away for _, away in chunked_distances(features, centres))])


def chunked_distances(features: FloatArray, centres: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
    """Distances as in `distances`, a chunk of rows at a time, since there may be millions.

    Computed from differences, not from squares and dot products, whose cancellation would blur small distances.
    """
    for rows in chunks(features):
        chunk = np.asarray(features[rows], np.float64)
        _check_finite(chunk, "candidates or cells")
        yield rows, cdist(chunk, centres)


def leave_one_out_distances(features: FloatArray, found: Prototypes) -> FloatArray:
    """Distance of each labeled feature to the nearest prototype if it had not been there itself, (n,).

    Without a member x, the centre of its n_i members moves away from it: the distance grows by n_i / (n_i - 1). A
    prototype whose only member is left out is gone. Where that was the only one, the distance is infinite. Members are
    not assigned anew.
    """
    away = distances(features, found.centres)
    rows = np.arange(len(features))
    sizes = found.sizes[found.members]
    factors = np.full(len(features), np.inf)
    np.divide(sizes, sizes - 1, out=factors, where=sizes > 1)
    away[rows, found.members] = np.where(sizes > 1, away[rows, found.members], 1.0) * factors
    nearest: FloatArray = away.min(axis=1)
    return nearest


def _check_finite(features: FloatArray, whose: str) -> None:
    if not np.isfinite(features).all():
        raise InputError(f"Features of the {whose} are not finite (NaN or infinite); check the network's weights.")
