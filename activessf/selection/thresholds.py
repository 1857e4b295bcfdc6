"""Eq. 8: within what distance of a prototype a candidate counts as near.

The paper's text says that rare subtypes get "lower thresholds". Eq. 8 is a threshold on *distance*, and gives rare
clusters a larger one: what is lower is the bar of similarity (README, Faithfulness). The equation is followed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from activessf.errors import InputError
from activessf.selection.strategy import FloatArray, IntArray

Bounds = Literal["cluster", "fixed", "quantile"]


def distance_bounds(
    own_distances: FloatArray,
    members: IntArray,
    num_prototypes: int,
    bounds: Bounds,
    fixed: tuple[float, float],
    quantiles: tuple[float, float],
) -> tuple[FloatArray, FloatArray]:
    """LB and UB of every prototype.

    Args:
        own_distances: Distance of each labeled feature to its own prototype, (n,), feature units.
        members: Its prototype, (n,).
        num_prototypes: K.
        bounds: `cluster`: smallest and largest distance of the cluster's own members (the paper, II.C.2). `fixed`:
            the two distances in `fixed` (III.B: 17 +- 2, unnormalised ResNet-50 features). `quantile`: the two
            `quantiles` of the members' distances (ours).
        fixed: LB and UB of `fixed`, feature units.
        quantiles: LB and UB of `quantile`, in 0-1.

    Returns:
        LB and UB, (K,) each.

    Raises:
        InputError: Unknown `bounds`, lower above upper, or quantiles outside 0-1.
    """
    if bounds not in ("cluster", "fixed", "quantile"):
        raise InputError(f"selection.bounds={bounds} is none of cluster, fixed, quantile.")
    if bounds == "fixed":
        if not 0 <= fixed[0] <= fixed[1]:
            raise InputError(
                f"selection.lower={fixed[0]} and selection.upper={fixed[1]} must satisfy 0 <= lower <= upper."
            )
        return np.full(num_prototypes, float(fixed[0])), np.full(num_prototypes, float(fixed[1]))
    low, high = quantiles if bounds == "quantile" else (0.0, 1.0)
    if not 0 <= low <= high <= 1:
        raise InputError(
            f"selection.lower_quantile={low} and selection.upper_quantile={high} must satisfy 0 <= lower <= upper <= 1."
        )
    per_prototype = [np.quantile(own_distances[members == k], [low, high]) for k in range(num_prototypes)]
    result = np.array(per_prototype)
    return result[:, 0], result[:, 1]


def thresholds(lower: FloatArray, upper: FloatArray, sizes: IntArray, alpha: float) -> FloatArray:
    """LB + (UB - LB) (1 - n_i / n_max)^alpha (Eq. 8).

    Args:
        lower: LB, (K,), feature units.
        upper: UB, (K,).
        sizes: n_i, (K,), > 0.
        alpha: Exponent of the size term, >= 0; at 0 every threshold is UB.

    Returns:
        (K,): LB for the largest cluster (alpha > 0), towards UB the smaller a cluster is.

    Raises:
        InputError: A negative alpha.
    """
    if not alpha >= 0:
        raise InputError(f"selection.alpha={alpha} must not be negative (Eq. 8).")
    result: FloatArray = lower + (upper - lower) * (1 - sizes / sizes.max()) ** alpha
    return result
