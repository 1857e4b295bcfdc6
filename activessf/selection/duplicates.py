"""Near-identical crops: of those that lie closer together than cells do, one is enough."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, triu
from sklearn.neighbors import NearestNeighbors

from activessf.selection.clusters import cluster
from activessf.selection.strategy import BoolArray, FloatArray, IntArray

_CELL = 4096  # points that are compared all with all


def typical_distance(labeled: FloatArray) -> float:
    """Median distance from a labeled cell to the nearest other one; 0 where there is only one.

    Of the labeled cells, not of the candidates: where every candidate is there twice, their nearest neighbours tell how
    far copies lie apart, not cells.
    """
    if len(labeled) < 2:
        return 0.0
    found = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(labeled)
    return float(np.median(found.kneighbors()[0]))


def first_of_each(points: NDArray[np.float32], priority: IntArray, radius: float, seed: int) -> BoolArray:
    """Which points remain if each drops those within `radius` of it that come after it.

    Up to 4,096 points all are compared with all: no two that remain lie within the radius, and everything dropped lies
    within it of one that remains. Beyond, points are compared with those of their cluster (K-means into cells of some
    2,000), which misses pairs with the border of two cells between them.

    Args:
        points: (m, r).
        priority: Place of each point in the order in which points are looked at, (m,), a permutation.
        radius: In the units of the points; at 0 only equal points are dropped.
        seed: Seed of the clustering.
    """
    remains = np.ones(len(points), bool)
    if len(points) < 2:
        return remains
    cells = np.zeros(len(points), int)
    if len(points) > _CELL:
        _, cells = cluster(points, 2 * len(points) // _CELL, seed)
    for members in np.split(np.argsort(cells, kind="stable"), np.cumsum(np.bincount(cells))[:-1]):
        in_order = members[np.argsort(priority[members])]
        remains[in_order] = _first_in_order(_close(points[in_order].astype(np.float64), radius))
    return remains


def _close(points: FloatArray, radius: float) -> csr_matrix:
    """Which later points lie within the radius of each, as a sparse matrix of ones."""
    centred = points - points.mean(axis=0)
    # Brute force goes by squares and dot products, whose cancellation may hide a pair at the rim, and copies at
    # radius 0: it looks a little farther, and what it finds is measured once more.
    reach = radius * (1 + 1e-6) + 1e-6 * float(np.linalg.norm(centred, axis=1).max())
    found = NearestNeighbors(radius=reach, algorithm="brute").fit(centred)
    pairs = triu(found.radius_neighbors_graph(), 1).tocoo()
    exact = np.linalg.norm(points[pairs.row] - points[pairs.col], axis=1) <= radius
    ones = np.ones(int(exact.sum()), bool)
    return csr_matrix((ones, (pairs.row[exact], pairs.col[exact])), shape=(len(points), len(points)))


def _first_in_order(close: csr_matrix) -> BoolArray:
    remains = np.ones(close.shape[0], bool)
    for row in np.flatnonzero(np.diff(close.indptr)):
        if remains[row]:
            remains[close.indices[close.indptr[row] : close.indptr[row + 1]]] = False
    return remains
