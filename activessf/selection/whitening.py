"""What may be done to features before selection looks at them: nothing, unit length, or PCA whitening."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from activessf.errors import InputError

Rows = NDArray[np.float32]  # features, (n, d)
Apply = Callable[[Rows], Rows]

SAMPLE = 10_000
_LEAST_LENGTH = 1e-12


@dataclass(frozen=True)
class Transform:
    """A transform of features that is fitted on one fold's labeled cells and candidates.

    Attributes:
        kind: `none`: features as they are, in whose units 17 +- 2 (III.B) is meant. `l2`: scaled to length 1.
            `pca_whitening`: on their principal components, each divided by its standard deviation.
        components: Principal components of `pca_whitening` that are kept, the largest; None = as many as there are.
        shrinkage: Of `pca_whitening`: this share of the mean variance is added to each component's, so that directions
            in which features hardly vary are not blown up; 0 or more.

    Raises:
        InputError: A value that can't be.
    """

    kind: str
    components: int | None
    shrinkage: float

    def __post_init__(self) -> None:
        """Check the values, which come from a user's configuration."""
        if self.kind not in ("none", "l2", "pca_whitening"):
            raise InputError(f"selection.features.transform={self.kind} is none of none, l2, pca_whitening.")
        whole = isinstance(self.components, int) and not isinstance(self.components, bool)
        if self.components is not None and not (whole and self.components >= 1):
            raise InputError(f"selection.features.whitened_components={self.components} must be null, 1 or more.")
        if not isinstance(self.shrinkage, int | float) or not 0 <= self.shrinkage < np.inf:
            raise InputError(f"selection.features.whitening_shrinkage={self.shrinkage} must be a number, 0 or more.")

    def fit(
        self, labeled: Rows, read: Callable[[NDArray[np.intp]], Rows], candidates: NDArray[np.intp], seed: int
    ) -> Apply:
        """The transform of any rows, after a look at the training cells and candidates.

        Args:
            labeled: Features of the labeled cells of the training folds, (n, d).
            read: Gives the features of regions, (m, d), by their numbers; there may be too many to hand over.
            candidates: Which regions are the fold's candidates; more than 10,000 are sampled.
            seed: Seed of the sample.

        Raises:
            InputError: More components than there are.
        """
        if self.kind == "none":
            return lambda rows: rows
        if self.kind == "l2":
            return unit_length
        if len(candidates) > SAMPLE:
            candidates = np.sort(np.random.default_rng(seed).choice(candidates, SAMPLE, replace=False))
        return whitening(np.concatenate([labeled, read(candidates)]), self.components, self.shrinkage)


def unit_length(rows: Rows) -> Rows:
    """Rows scaled to Euclidean length 1; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Rows = (rows / np.maximum(lengths, _LEAST_LENGTH)).astype(np.float32)
    return scaled


def whitening(sample: Rows, components: int | None, shrinkage: float) -> Apply:
    """PCA whitening fitted to a sample, (n, d).

    With the covariance's eigenvectors u_i and eigenvalues v_i, largest first, a row x becomes
    u_i . (x - mean) / sqrt(v_i + shrinkage * v), where v is the mean of all d eigenvalues.

    Raises:
        InputError: The sample doesn't vary in as many directions as there are to be components.
    """
    mean = sample.mean(axis=0, dtype=np.float64)
    centred = sample - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / max(1, len(sample) - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = int((values > values[0] * len(values) * np.finfo(np.float32).eps).sum()) if values[0] > 0 else 0
    kept = rank if components is None else components
    if not 1 <= kept <= rank:
        raise InputError(
            f"selection.features.whitened_components={components} can't be had: the features vary in {rank} directions."
        )
    matrix = vectors[:, :kept] / np.sqrt(values[:kept] + shrinkage * values.mean())
    return lambda rows: ((rows - mean) @ matrix).astype(np.float32)
