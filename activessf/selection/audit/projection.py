"""A map of the features in two dimensions: principal components, then t-SNE, of a seeded sample."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from activessf.errors import InputError
from activessf.selection.strategy import FloatArray

LABELED, CANDIDATE = "labeled", "candidate"
MAP = ("part", "row", "x", "y")
_COMPONENTS = 50
_MOST_LABELED = 0.3  # share of the sample
_PERPLEXITY = 30


def project(labeled: FloatArray, candidates: FloatArray, seed: int, number: int = 3000) -> pd.DataFrame:
    """Place a sample of labeled cells and candidates on a plane, so that near neighbours in feature space stay near.

    Which strategy decides has no influence on it, so selections of the same fold and features can share a map.

    Args:
        labeled: Features of the labeled cells, (n, d).
        candidates: Features of the candidates, (m, d); may be a memory map, of which only the sample is read.
        seed: Draws the sample.
        number: Size of the sample, at least 10.

    Returns:
        Columns `MAP`: labeled cell or candidate, its row among them, and where it lies. Fewer than five points, or
        features without a dimension, give an empty table.

    Raises:
        InputError: The sample is too small to show anything.
    """
    if number < 10:
        raise InputError(f"A map of {number} points shows nothing; give 10 or more.")
    rng = np.random.default_rng(seed)
    num_labeled = min(len(labeled), max(int(_MOST_LABELED * number), number - len(candidates)))
    parts = (LABELED, labeled, num_labeled), (CANDIDATE, candidates, number - num_labeled)
    rows = {name: np.sort(rng.permutation(len(all_rows))[:most]) for name, all_rows, most in parts}
    features = np.concatenate([np.asarray(labeled[rows[LABELED]]), np.asarray(candidates[rows[CANDIDATE]])])
    table = pd.DataFrame(
        [(name, row) for name, chosen in rows.items() for row in chosen.tolist()], columns=["part", "row"]
    )
    if len(features) < 5 or not features.shape[1]:
        return pd.DataFrame(columns=list(MAP))
    x, y = _plane(features.astype(np.float64), seed).T
    return table.assign(x=x, y=y)


def _plane(features: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    if (features == features[0]).all():
        return np.zeros((len(features), 2))
    components = min(_COMPONENTS, *features.shape)
    reduced = PCA(components, svd_solver="full", random_state=seed).fit_transform(features)
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    placed: NDArray[np.float64] = TSNE(
        2, perplexity=perplexity, init="pca" if components > 1 else "random", random_state=seed
    ).fit_transform(reduced)
    return placed
