"""K-means over many points, the same for the same points and seed on any number of threads."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from activessf.selection.strategy import FloatArray, IntArray

_FEW_POINTS, _FEW_CLUSTERS = 10_000, 50
_BATCH = 4096


def cluster(points: FloatArray, num_clusters: int, seed: int) -> tuple[FloatArray, IntArray]:
    """Centres, (K, r), and the cluster of each point, (m,), none of them empty; K may be less than asked for.

    Up to 10,000 points and 50 clusters by K-means, beyond by its mini-batch form (as TypiClust's published code does
    from 50 clusters). The caller limits the threads.
    """
    few = len(points) <= _FEW_POINTS and num_clusters <= _FEW_CLUSTERS
    method = (
        KMeans(num_clusters, n_init=1, random_state=seed)
        if few
        else MiniBatchKMeans(num_clusters, n_init=1, batch_size=_BATCH, random_state=seed)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters: fewer clusters
        method.fit(points)
    used, labels = np.unique(method.labels_, return_inverse=True)
    return method.cluster_centers_[used], labels
