"""`selection=typiclust`: the most typical candidates of many clusters, those without labeled cells first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

from activessf.errors import InputError
from activessf.selection.budget import Pool
from activessf.selection.clusters import cluster
from activessf.selection.compact import compact
from activessf.selection.strategy import FloatArray, IntArray


@dataclass(frozen=True)
class TypiClust:
    """TypiClust (Hacohen et al., arXiv 2202.02794, section 3).

    Labeled cells and candidates together are clustered into min(labeled + budget, `max_clusters`) clusters. Clusters
    with fewest labeled cells come first, of these the largest. In turn each gives its most typical candidate, until the
    budget is met. Clusters of `min_cluster` points or fewer give theirs last. Typicality is 1 over the mean distance to
    the `num_neighbours` nearest of the cluster (Eq. 1 there), half the cluster's size at most.

    Unlike the published code, which computes it anew after every pick, typicality is that in the whole cluster: it is
    made for dozens of picks, and here there are thousands. Features are those of `compact`.

    Attributes:
        max_clusters: 500 in the published code.
        num_neighbours: 20 there.
        min_cluster: 5 there.
    """

    max_clusters: int
    num_neighbours: int
    min_cluster: int

    def __post_init__(self) -> None:
        """Check the values, which come from a user's configuration."""
        for name, least in (("max_clusters", 1), ("num_neighbours", 1), ("min_cluster", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"selection.choice.{name}={value} must be a whole number, {least} or more.")

    def __call__(self, pool: Pool, budget: int, seed: int) -> IntArray:
        """See `Choice`."""
        labeled, candidates = compact(pool.labeled, pool.candidates, pool.order, seed)
        points = np.concatenate([candidates, labeled])
        _, clusters = cluster(points, min(len(labeled) + budget, self.max_clusters, len(points)), seed)
        sizes = np.bincount(clusters)
        num_labeled = np.bincount(clusters[len(candidates) :], minlength=len(sizes))
        turn = np.empty(len(sizes), int)
        turn[np.lexsort((-sizes, num_labeled))] = np.arange(len(sizes))
        own = clusters[: len(candidates)]
        place = _places(own, -self._typicality(points, clusters)[: len(candidates)])
        small = sizes[own] <= self.min_cluster
        return pool.order[np.lexsort((turn[own], place, small))[:budget]]

    def _typicality(self, points: FloatArray, clusters: IntArray) -> FloatArray:
        result = np.zeros(len(points))
        for members in np.split(np.argsort(clusters, kind="stable"), np.cumsum(np.bincount(clusters))[:-1]):
            count = min(self.num_neighbours, len(members) // 2)
            if count:
                found = NearestNeighbors(n_neighbors=count).fit(points[members])
                result[members] = 1 / (found.kneighbors()[0].mean(axis=1) + 1e-5)
        return result


def _places(groups: IntArray, keys: FloatArray) -> IntArray:
    """Place of each row among those of its group, by ascending key, (m,)."""
    order = np.lexsort((keys, groups))
    counts = np.bincount(groups)
    places = np.empty(len(groups), int)
    places[order] = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    return places
