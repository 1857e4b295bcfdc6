"""`selection=cluster_balanced`: hierarchical K-means, and equally many from every branch, as in SSL data curation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from activessf.errors import InputError
from activessf.selection.budget import Pool
from activessf.selection.clusters import cluster
from activessf.selection.compact import compact
from activessf.selection.quotas import allot, take
from activessf.selection.strategy import FloatArray, IntArray


@dataclass(frozen=True)
class ClusterBalanced:
    """Balanced sampling from a hierarchy of clusters (Vo et al., arXiv 2405.15613, sections 3.2 to 3.4).

    Candidates are clustered by K-means, the centres are clustered again, and so on. From the top down, the budget of a
    node is shared equally among its children, none beyond its size; in the lowest clusters candidates are drawn at
    random. Labeled cells have no part in it, nor have prototypes. Features are those of `compact`.

    Attributes:
        num_clusters: Clusters of each level, from the lowest; at most a third of what there is to cluster.
        resampling_steps: How often the centres of a level are found anew from the points nearest to each (section 3.3),
            which moves them from where points are dense to where there are any.
        nearest_points: How many points nearest to each centre that takes.
    """

    num_clusters: list[int]
    resampling_steps: int
    nearest_points: int

    def __post_init__(self) -> None:
        """Check the values, which come from a user's configuration."""
        counts = self.num_clusters
        fits = isinstance(counts, list) and all(_is_whole(count, 1) for count in counts)
        if not fits or not counts:
            raise InputError(f"selection.choice.num_clusters={counts} must be a list of whole numbers, 1 or more.")
        for name, least in (("resampling_steps", 0), ("nearest_points", 1)):
            if not _is_whole(getattr(self, name), least):
                raise InputError(
                    f"selection.choice.{name}={getattr(self, name)} must be a whole number, {least} or more."
                )

    def __call__(self, pool: Pool, budget: int, seed: int) -> IntArray:
        """See `Choice`."""
        _, points = compact(pool.labeled[:0], pool.candidates, pool.order, seed)
        parents = self._hierarchy(points, seed)
        quotas = _quotas(parents, budget)
        drawn = np.random.default_rng(seed).permutation(len(points))
        return pool.order[take(parents[0], quotas, drawn)]

    def _hierarchy(self, points: FloatArray, seed: int) -> list[IntArray]:
        """The parent of each candidate, of each lowest cluster, and so on up to the highest level."""
        parents = []
        for count in self.num_clusters:
            points, labels = self._level(points, min(count, max(1, len(points) // 3)), seed)
            parents.append(labels)
        return parents

    def _level(self, points: FloatArray, count: int, seed: int) -> tuple[FloatArray, IntArray]:
        centres, labels = cluster(points, count, seed)
        for _ in range(self.resampling_steps):
            away = np.linalg.norm(points - centres[labels], axis=1)
            closest = take(labels, np.full(len(centres), self.nearest_points), np.argsort(away, kind="stable"))
            centres, _ = cluster(points[np.sort(closest)], len(centres), seed)
            centres, labels = _assigned(points, centres)
        return centres, labels


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _assigned(points: FloatArray, centres: FloatArray) -> tuple[FloatArray, IntArray]:
    """Centres that have a point nearest to them, and the nearest of each point."""
    nearest: IntArray = np.empty(len(points), int)
    squares = np.einsum("ij,ij->i", centres, centres)
    for rows in np.array_split(np.arange(len(points)), len(points) * len(centres) // 2**24 + 1):
        nearest[rows] = (squares - 2 * (points[rows] @ centres.T)).argmin(axis=1)
    used, labels = np.unique(nearest, return_inverse=True)
    return centres[used], labels


def _quotas(parents: list[IntArray], budget: int) -> IntArray:
    """How many each lowest cluster gives, (K,): every node shares its quota equally among its children."""
    sizes = [np.bincount(parents[0])]
    for labels in parents[1:]:
        sizes.append(np.bincount(labels, sizes[-1]).astype(int))
    quotas = allot(np.ones(len(sizes[-1])), sizes[-1], budget)
    for labels, available in zip(parents[:0:-1], sizes[-2::-1], strict=True):
        shared = np.empty(len(labels), int)
        for node, quota in enumerate(quotas):
            children = np.flatnonzero(labels == node)
            shared[children] = allot(np.ones(len(children)), available[children], int(quota))
        quotas = shared
    return quotas
