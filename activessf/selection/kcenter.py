"""`selection=kcenter`: the core-set of Sener & Savarese, which leaves no candidate far from what is kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_argmin_min

from activessf.selection.budget import Pool
from activessf.selection.compact import compact
from activessf.selection.strategy import IntArray


def kcenter(pool: Pool, budget: int, seed: int) -> IntArray:
    """Greedy k-center (arXiv 1708.00489, Algorithm 1), started from the labeled cells; see `Choice`.

    Again and again the candidate is taken that is farthest from all labeled cells and candidates taken so far. The time
    grows with candidates x budget. Features are those of `compact`.
    """
    labeled, candidates = compact(pool.labeled, pool.candidates, pool.order, seed)
    _, uncovered = pairwise_distances_argmin_min(candidates, labeled, metric="sqeuclidean")
    return pool.order[_farthest_first(candidates, uncovered.astype(np.float32), budget)]


def _farthest_first(points: NDArray[np.float32], uncovered: NDArray[np.float32], budget: int) -> IntArray:
    """Row numbers, in the order in which they are taken; `uncovered` has squared distances and is used up."""
    points = points - points.mean(axis=0)  # less cancellation below
    squares = np.einsum("ij,ij->i", points, points)
    taken = np.empty(budget, int)
    for number in range(budget):
        taken[number] = farthest = int(uncovered.argmax())
        away = squares + (squares[farthest] - 2 * (points @ points[farthest]))
        np.minimum(uncovered, away, out=uncovered)
        uncovered[taken[: number + 1]] = -np.inf
    return taken
