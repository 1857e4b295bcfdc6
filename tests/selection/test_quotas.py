import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from activessf.selection.quotas import allot, take


@pytest.mark.parametrize(
    ("weights", "available", "budget", "expected"),
    [
        ([1, 1, 1], [10, 10, 10], 6, [2, 2, 2]),
        ([1, 1, 1], [1, 10, 10], 9, [1, 4, 4]),  # the first can't fill its 3; the rest is shared
        ([1, 1, 1], [1, 2, 10], 9, [1, 2, 6]),
        ([3, 1], [100, 100], 8, [6, 2]),
        ([3, 1], [4, 100], 8, [4, 4]),
        ([1, 1, 1], [5, 5, 5], 4, [2, 1, 1]),  # a tie of fractions goes to the first
        ([1, 1], [0, 5], 3, [0, 3]),
        ([1, 1], [2, 5], 7, [2, 5]),
        ([1, 1], [2, 5], 0, [0, 0]),
    ],
)
def test_quotas_by_hand(weights, available, budget, expected):
    assert allot(np.array(weights, float), np.array(available), budget).tolist() == expected


GROUPS = st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 300)), min_size=1, max_size=12)


@settings(deadline=None)
@given(GROUPS, st.floats(0, 1))
def test_quotas_are_the_level_of_water_rounded(groups, part):
    weights, available = np.array([weight for weight, _ in groups]), np.array([count for _, count in groups])
    budget = int(part * available.sum())
    quotas = allot(weights, available, budget)
    assert quotas.sum() == budget and (quotas >= 0).all() and (quotas <= available).all()
    highest = (available / weights).max() + 1
    level = brentq(lambda t: np.minimum(available, t * weights).sum() - budget, 0, highest, xtol=1e-9) if budget else 0
    assert (np.abs(quotas - np.minimum(available, level * weights)) < 1 + 1e-4).all()


def test_rows_are_taken_in_order_up_to_the_quota_of_their_group():
    groups = np.array([0, 1, 0, 1, 0, 2])
    order = np.array([4, 3, 2, 1, 0])  # row 5 isn't there
    assert sorted(take(groups, np.array([2, 1, 3]), order)) == [2, 3, 4]
    assert take(groups, np.zeros(3, int), order).tolist() == []


@given(st.lists(st.integers(0, 4), max_size=40), st.lists(st.integers(0, 9), min_size=5, max_size=5), st.randoms())
def test_taking_is_what_a_loop_with_counters_does(groups, quotas, random):
    order = list(range(len(groups)))
    random.shuffle(order)
    left, expected = list(quotas), []
    for row in order:
        if left[groups[row]]:
            left[groups[row]] -= 1
            expected.append(row)
    taken = take(np.array(groups, int), np.array(quotas), np.array(order, int))
    assert sorted(taken) == sorted(expected)
