"""How far predicted probabilities are from observed frequencies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 15


def expected_calibration_error(
    confidence: NDArray[np.float64], outcome: NDArray[np.bool_], num_bins: int = NUM_BINS
) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599, equation 3): |frequency - confidence|, in 0..1.

    Bins are equally wide and include their upper end, ((b - 1) / n, b / n]. Of few cells the error is overestimated,
    since the frequency within a bin then scatters.

    Args:
        confidence: Predicted probability of what `outcome` tells, (n,), in 0..1.
        outcome: Whether it came true, (n,). With the highest probability of each cell and whether the prediction is
            right, this is the usual error; with the probability of one class and whether the cell is of it, the
            class-wise error (Kull et al. 2019, arXiv 1910.12656).
        num_bins: Number of bins.
    """
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, weights=outcome - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(confidence))
