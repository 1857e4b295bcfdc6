"""Means over folds, and tests and effect sizes of two runs of the same folds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

# Differences that vary less than this, relative to the values, are equal but for rounding.
_ROUNDING = 1e-12
# Fewer differing pairs can not have a p below 0.05.
WILCOXON_PAIRS = 6


@dataclass(frozen=True)
class PairedTest:
    """One paired test of a mean difference against 0.

    Attributes:
        difference: Mean of second minus first, in the unit of the values; NaN without a pair.
        t: Student's t, NaN where there is no test.
        p: Two-sided p value, NaN where there is no test, 1 where the two are equal in every fold.
        folds: Number of pairs.
        reason: Why there is no ordinary test; "" where there is one.
    """

    difference: float
    t: float
    p: float
    folds: int
    reason: str = ""


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); NaN where there are too few values for one."""
    array = np.asarray(values, float)
    mean = float(array.mean()) if len(array) else math.nan
    deviation = float(array.std(ddof=1)) if len(array) > 1 else math.nan
    return mean, deviation


def paired_t_test(first: Sequence[float], second: Sequence[float]) -> PairedTest:
    """The ordinary paired t-test, as in Table II of the paper.

    Too optimistic over folds of a cross-validation, since their training sets overlap: see `corrected_t_test`.

    Args:
        first: One value a fold of the baseline, (n,).
        second: One value a fold of the run, in the same order of folds, (n,).
    """
    untestable = _untestable(first, second)
    if untestable is not None:
        return untestable
    result = stats.ttest_rel(second, first)
    return PairedTest(_difference(first, second), float(result.statistic), float(result.pvalue), len(first))


def corrected_t_test(first: Sequence[float], second: Sequence[float], test_train_ratio: float) -> PairedTest:
    """The corrected resampled t-test of Nadeau and Bengio (Machine Learning 52, 2003, section 4).

    The variance of the mean is (1/n + test/train) * s^2 instead of s^2/n, which makes up for the training sets that
    the folds share; n - 1 degrees of freedom.

    Args:
        first: One value a fold of the baseline, (n,).
        second: One value a fold of the run, in the same order of folds, (n,).
        test_train_ratio: Test cells over training cells of a fold: 1 / (k - 1) for k-fold cross-validation, also
            where fewer than k folds have been run.
    """
    untestable = _untestable(first, second)
    if untestable is not None:
        return untestable
    differences = np.asarray(second, float) - np.asarray(first, float)
    n = len(differences)
    t = float(differences.mean() / math.sqrt((1 / n + test_train_ratio) * differences.var(ddof=1)))
    return PairedTest(_difference(first, second), t, float(2 * stats.t.sf(abs(t), n - 1)), n)


def wilcoxon_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, NaN where it could not be below 0.05 whatever the values are.

    Of n pairs that differ, the smallest p is 2 / 2**n: 0.0625 for five, so that six are needed. Pairs that are equal
    but for rounding are left out (Wilcoxon's own treatment).

    Args:
        first: One value a fold of the baseline, (n,).
        second: One value a fold of the run, in the same order of folds, (n,).
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    differences = (b - a)[np.abs(b - a) > _ROUNDING * np.maximum(np.abs(a), np.abs(b))]
    return float(stats.wilcoxon(differences).pvalue) if len(differences) >= WILCOXON_PAIRS else math.nan


def effect_size(first: Sequence[float], second: Sequence[float]) -> float:
    """Standardised mean difference of pairs: Cohen's d_z with Hedges' correction for few pairs.

    Mean over standard deviation of the differences, times Gamma(f/2) / (sqrt(f/2) Gamma((f-1)/2)) with f = n - 1
    (Hedges, J. Educational Statistics 6, 1981). Folds differ little, so it comes out larger than between independent
    groups. NaN of fewer than three pairs, and where the t-test is not defined.

    Args:
        first: One value a fold of the baseline, (n,).
        second: One value a fold of the run, in the same order of folds, (n,).
    """
    if len(first) < 3 or _untestable(first, second) is not None:
        return math.nan
    differences = np.asarray(second, float) - np.asarray(first, float)
    half = (len(differences) - 1) / 2
    correction = math.exp(math.lgamma(half) - math.lgamma(half - 0.5)) / math.sqrt(half)
    return float(correction * differences.mean() / differences.std(ddof=1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of the p values of one family of tests, in the given order.

    NaN means there was no test: it stays NaN and does not count.
    """
    p = np.asarray(p_values, float)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected = np.full(len(p), math.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return [float(value) for value in corrected]


def _untestable(first: Sequence[float], second: Sequence[float]) -> PairedTest | None:
    """The result where t is not defined, None where it is."""
    if len(first) != len(second):
        raise ValueError(f"Paired tests need as many values on both sides, got {len(first)} and {len(second)}.")
    n = len(first)
    if n < 2:
        return PairedTest(_difference(first, second), math.nan, math.nan, n, "needs two folds that both runs have")
    a, b = np.asarray(first, float), np.asarray(second, float)
    rounding = _ROUNDING * max(np.abs(a).max(), np.abs(b).max())
    if np.abs(b - a).max() <= rounding:
        return PairedTest(0.0, 0.0, 1.0, n, "equal in every fold")
    if (b - a).std(ddof=1) <= rounding:
        return PairedTest(_difference(first, second), math.nan, math.nan, n, "the same difference in every fold")
    return None


def _difference(first: Sequence[float], second: Sequence[float]) -> float:
    return mean_and_deviation([b - a for a, b in zip(first, second, strict=True)])[0]
