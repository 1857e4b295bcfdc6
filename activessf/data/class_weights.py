"""What a cell counts by the size of its class: in a loss, and in how often it is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activessf.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Counts = Sequence[int] | IntArray


def class_counts(targets: Sequence[int], num_classes: int) -> IntArray:
    """Cells of each class, (C,); `targets` are class indices."""
    counts: IntArray = np.bincount(np.asarray(targets, dtype=np.int64), minlength=num_classes)
    return counts


def class_weights(counts: Counts, exponent: float | None, beta: float | None) -> FloatArray:
    """Weight of one cell of each class: n^-exponent, or 1 over the effective number of n cells.

    The effective number of n cells is (1 - beta^n) / (1 - beta) (Cui 2019, arXiv 1901.05555, Proposition 1): near n as
    long as n is far below 1 / (1 - beta), and never more than that.

    Args:
        counts: Cells of each class, (C,), >= 0, not all 0.
        exponent: 0 = all cells alike, 1 = all classes alike. Given if `beta` is None.
        beta: In [0, 1): 0 = all cells alike, near 1 = all classes alike. Given if `exponent` is None.

    Returns:
        (C,), 1 in the mean over all cells; 0 for a class without a cell.
    """
    n = np.asarray(counts, dtype=np.float64)
    present = n > 0
    weights = np.zeros_like(n)
    if beta is not None:
        assert exponent is None
        weights[present] = (1 - beta) / (1 - beta ** n[present])
    else:
        assert exponent is not None
        weights[present] = (n[present] / n.max()) ** -exponent  # a share of the largest: no power overflows
    scaled: FloatArray = weights * n.sum() / (weights * n).sum()
    return scaled


def drawing_weights(
    targets: Sequence[int], num_classes: int, exponent: float | None, beta: float | None
) -> FloatArray | None:
    """How often each cell is drawn, so that a class of n cells is drawn in proportion to n^exponent.

    Args:
        targets: Class index of each cell, (N,).
        num_classes: C.
        exponent: q of Kang 2020 (arXiv 1910.09217, Eq. 1): 0 = all classes equally often, 1/2 = by the square root of
            their sizes, 1 = all cells equally often.
        beta: If given, in place of `exponent`: a class of n cells is drawn in proportion to n over its effective
            number, see `class_weights`.

    Returns:
        Proportions, (N,); None if neither exponent nor beta is given: every cell once an epoch.
    """
    if exponent is None and beta is None:
        return None
    counts = class_counts(targets, num_classes)
    weights = class_weights(counts, None if exponent is None else 1 - exponent, beta)
    drawn: FloatArray = weights[np.asarray(targets)]
    return drawn


def check_one_of(group: str, exponent: Any, beta: Any, highest: float) -> None:
    """Check two settings that exclude each other.

    Args:
        group: The config group that they stand in, for messages.
        exponent: None, or a number from 0 to `highest`.
        beta: None, or a number from 0 to below 1.
        highest: The highest exponent.

    Raises:
        InputError: One can't be, or both are given.
    """
    if exponent is not None and beta is not None:
        raise InputError(f"{group}.exponent={exponent} and {group}.beta={beta} exclude each other; set one to null.")
    check_range(f"{group}.exponent", exponent, highest)
    check_range(f"{group}.beta", beta, 1)
    if beta == 1:
        raise InputError(f"{group}.beta={beta} must be below 1, such as 0.999; for the limit set {group}.exponent.")


def check_range(name: str, value: Any, highest: float = math.inf) -> None:
    """Check a setting that is a number from 0 to `highest`, or None.

    Raises:
        InputError: It is neither.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if value is not None and not (number and 0 <= value <= highest):
        wanted = "0 or more" if math.isinf(highest) else f"0 to {highest:g}"
        raise InputError(f"{name}={value} must be a number, {wanted}.")
