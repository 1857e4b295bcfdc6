"""Features small enough to compare all with all: in canonical order, and of fewer dimensions where they are many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from activessf.selection.rows import chunks
from activessf.selection.strategy import FloatArray, IntArray

_LARGEST = 2**23  # values that are taken as they are, 32 MiB
_COMPONENTS = 64
_SAMPLE = 10_000
_GRID = 2.0**-12  # of the first component's standard deviation


def compact(
    labeled: FloatArray, candidates: FloatArray, order: IntArray, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features for methods that need many distances between candidates.

    Up to 2**23 values they are what they were, as float32. Beyond, they are projected on 64 principal components of a
    sample of 10,000 candidates: distances can only become smaller, and a million take 256 MiB.

    Args:
        labeled: (n, d).
        candidates: (m, d); may be memory-mapped.
        order: The candidates' row numbers in canonical order (`rows.canonical_order`), or some of them.
        seed: Seed of the sample and of the decomposition.

    Returns:
        The labeled features, (n, r), and those of the candidates in the given order, (len(order), r).
    """
    if len(order) * candidates.shape[1] <= _LARGEST or candidates.shape[1] <= _COMPONENTS:
        return np.asarray(labeled, np.float32), np.asarray(candidates[order], np.float32)
    fitted = _fit(candidates, order, seed)
    place = np.full(len(candidates), -1)
    place[order] = np.arange(len(order))
    projected = np.empty((len(order), _COMPONENTS), np.float32)
    for rows in chunks(candidates):
        wanted = place[rows] >= 0
        if wanted.any():
            projected[place[rows][wanted]] = _project(fitted, candidates[rows][wanted])
    return _project(fitted, labeled), projected


def _fit(candidates: FloatArray, order: IntArray, seed: int) -> PCA:
    drawn = np.random.default_rng(seed).permutation(len(order))[:_SAMPLE]
    rows = order[drawn]
    sequential = np.argsort(rows)
    sample = np.empty((len(rows), candidates.shape[1]), np.float32)
    sample[sequential] = candidates[rows[sequential]]
    return PCA(_COMPONENTS, svd_solver="randomized", random_state=seed).fit(sample)


def _project(fitted: PCA, features: FloatArray) -> NDArray[np.float32]:
    """Components, rounded: the last bits of a product of matrices depend on a row's place in its chunk."""
    components = (np.asarray(features, np.float64) - fitted.mean_) @ fitted.components_.T.astype(np.float64)
    step = max(float(np.sqrt(fitted.explained_variance_[0])) * _GRID, np.finfo(np.float32).tiny)
    rounded: NDArray[np.float32] = (np.round(components / step) * step).astype(np.float32)
    return rounded
