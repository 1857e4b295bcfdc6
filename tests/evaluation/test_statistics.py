import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from activessf.evaluation.statistics import (
    corrected_t_test,
    effect_size,
    holm,
    mean_and_deviation,
    paired_t_test,
    wilcoxon_p,
)

BASELINE = [70.1, 72.3, 69.8, 71.0, 73.4]
RUN = [74.0, 73.1, 72.9, 75.2, 74.1]
# Differences 3.9, 0.8, 3.1, 4.2, 0.7: mean 2.54, squared deviations 1.8496 + 3.0276 + 0.3136 + 2.7556 + 3.3856.
MEAN, VARIANCE = 2.54, 11.332 / 4

probabilities = st.lists(st.floats(0, 1), max_size=12)


def test_the_deviation_is_that_of_a_sample() -> None:
    mean, deviation = mean_and_deviation([1.0, 2.0, 3.0, 6.0])
    assert mean == 3.0 and deviation == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3))


def test_too_few_values_have_no_deviation() -> None:
    assert mean_and_deviation([5.0])[0] == 5.0 and math.isnan(mean_and_deviation([5.0])[1])
    assert all(map(math.isnan, mean_and_deviation([])))


def test_paired_t_test_by_hand() -> None:
    result = paired_t_test(BASELINE, RUN)
    assert result.difference == pytest.approx(MEAN)
    assert result.t == pytest.approx(MEAN / math.sqrt(VARIANCE / 5))
    assert result.p == pytest.approx(2 * stats.t.cdf(-abs(result.t), 4))
    assert result.folds == 5 and result.reason == ""


def test_nadeau_bengio_by_its_formula_on_five_numbers() -> None:
    result = corrected_t_test(BASELINE, RUN, 1 / 4)
    t = MEAN / math.sqrt((1 / 5 + 1 / 4) * VARIANCE)
    # The p value from the density of Student's t with 4 degrees of freedom, integrated numerically.
    tail, _ = integrate.quad(lambda x: 3 / 8 * (1 + x**2 / 4) ** -2.5, t, math.inf)
    assert result.t == pytest.approx(t)
    assert result.p == pytest.approx(2 * tail)


def test_without_test_share_the_corrected_test_is_the_ordinary_one() -> None:
    plain, corrected = paired_t_test(BASELINE, RUN), corrected_t_test(BASELINE, RUN, 0.0)
    assert corrected.t == pytest.approx(plain.t) and corrected.p == pytest.approx(plain.p)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=10))
def test_the_correction_never_makes_a_p_value_smaller(pairs: list[tuple[float, float]]) -> None:
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    plain, corrected = paired_t_test(first, second), corrected_t_test(first, second, 1 / 4)
    assert math.isnan(plain.p) == math.isnan(corrected.p)
    if not math.isnan(plain.p):
        assert 0 <= plain.p <= corrected.p + 1e-12 <= 1 + 2e-12
        assert paired_t_test(second, first).t == pytest.approx(-plain.t)


def test_one_pair_or_none_gives_no_test_and_says_why() -> None:
    for test in (paired_t_test([0.5], [0.7]), corrected_t_test([0.5], [0.7], 0.25)):
        assert test.difference == pytest.approx(0.2) and math.isnan(test.p) and "two folds" in test.reason
    assert math.isnan(paired_t_test([], []).difference)


def test_equal_runs_have_p_one() -> None:
    result = corrected_t_test(BASELINE, BASELINE, 0.25)
    assert (result.difference, result.t, result.p, result.reason) == (0.0, 0.0, 1.0, "equal in every fold")


def test_a_constant_difference_can_not_be_tested() -> None:
    result = paired_t_test(BASELINE, [value + 0.1 for value in BASELINE])
    assert result.difference == pytest.approx(0.1) and math.isnan(result.p) and "same difference" in result.reason


def test_unequal_numbers_of_values_are_a_defect() -> None:
    with pytest.raises(ValueError, match="5 and 4"):
        paired_t_test(BASELINE, RUN[:4])


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04; the last is raised to .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_passes_over_missing_tests() -> None:
    assert holm([0.02, math.nan, 0.04]) == pytest.approx([0.04, math.nan, 0.04], nan_ok=True)
    assert holm([]) == []


@given(probabilities)
def test_holm_is_monotone_at_least_p_and_at_most_bonferroni(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for p, adjusted in zip(p_values, corrected, strict=True):
        assert p <= adjusted <= min(1.0, p * len(p_values)) + 1e-12
    ordered = [corrected[index] for index in sorted(range(len(p_values)), key=lambda index: p_values[index])]
    assert ordered == sorted(ordered)


@given(probabilities, st.floats(0.001, 0.2))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float], level: float) -> None:
    rejected = 0
    for step, p in enumerate(sorted(p_values)):
        if p * (len(p_values) - step) > level:
            break
        rejected += 1
    assert sum(adjusted <= level for adjusted in holm(p_values)) == rejected


def test_wilcoxon_counts_the_signs_that_give_as_extreme_a_rank_sum() -> None:
    first = [0.0] * 7
    second = [0.3, -0.1, 0.9, 0.4, 0.2, 0.7, 0.8]
    order = sorted(second, key=abs)
    ranks = [order.index(value) + 1 for value in second]
    total = sum(ranks)

    def distance(signs: tuple[int, ...]) -> float:
        return abs(sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign > 0) - total / 2)

    observed = distance(tuple(1 if value > 0 else -1 for value in second))
    flips = list(itertools.product((1, -1), repeat=7))
    assert wilcoxon_p(first, second) == pytest.approx(sum(distance(f) >= observed for f in flips) / len(flips))


def test_wilcoxon_is_not_given_where_it_could_not_be_significant() -> None:
    assert math.isnan(wilcoxon_p([0.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]))
    assert math.isnan(wilcoxon_p([0.5] * 7, [0.5, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0]))  # five pairs differ
    assert wilcoxon_p([0.0] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == pytest.approx(2 / 2**6)


def test_effect_size_by_hand() -> None:
    # Gamma(2) / (sqrt(2) Gamma(3/2)) = 1 / (sqrt(2) sqrt(pi) / 2).
    correction = 2 / math.sqrt(2 * math.pi)
    assert effect_size(BASELINE, RUN) == pytest.approx(correction * MEAN / math.sqrt(VARIANCE))
    assert effect_size(RUN, BASELINE) == pytest.approx(-effect_size(BASELINE, RUN))


def test_effect_size_needs_three_pairs_that_differ_differently() -> None:
    assert math.isnan(effect_size([0.5, 0.6], [0.7, 0.9]))
    assert math.isnan(effect_size(BASELINE, [value + 1 for value in BASELINE]))
