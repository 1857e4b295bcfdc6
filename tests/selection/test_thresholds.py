import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activessf.errors import InputError
from activessf.selection.thresholds import distance_bounds, thresholds


def test_equation_8_by_hand():
    # Three clusters of 8, 4 and 2 cells; LB 1, UB 5.
    lower, upper, sizes = np.full(3, 1.0), np.full(3, 5.0), np.array([8, 4, 2])
    assert thresholds(lower, upper, sizes, alpha=1.0).tolist() == [1.0, 3.0, 4.0]
    # (1 - 4/8)^2 = 1/4, (1 - 2/8)^2 = 9/16
    assert thresholds(lower, upper, sizes, alpha=2.0).tolist() == [1.0, 2.0, 3.25]
    # sqrt(1/2) and sqrt(3/4)
    assert thresholds(lower, upper, sizes, alpha=0.5) == pytest.approx([1.0, 1 + 4 * 0.5**0.5, 1 + 4 * 0.75**0.5])


def test_the_papers_17_plus_minus_2():
    lower, upper = distance_bounds(np.zeros(3), np.array([0, 0, 1]), 2, "fixed", (15, 19), (0, 1))
    # n = 2 and 1: the largest cluster has 15, the other 15 + 4 (1 - 1/2)^1
    assert thresholds(lower, upper, np.array([2, 1]), alpha=1.0).tolist() == [15.0, 17.0]


def test_cluster_bounds_are_the_smallest_and_largest_distance_of_its_own_members():
    own = np.array([3.0, 1.0, 2.0, 7.0, 5.0])
    members = np.array([0, 0, 0, 1, 1])
    lower, upper = distance_bounds(own, members, 2, "cluster", (0, 0), (0, 0))
    assert lower.tolist() == [1.0, 5.0] and upper.tolist() == [3.0, 7.0]


def test_quantile_bounds_by_hand():
    own = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    lower, upper = distance_bounds(own, np.zeros(5, int), 1, "quantile", (15, 19), (0.25, 0.75))
    assert lower.tolist() == [1.0] and upper.tolist() == [3.0]


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50), st.integers(1, 1000)), min_size=2, max_size=12),
    st.floats(0, 8),
)
def test_thresholds_lie_between_the_bounds_and_grow_as_clusters_shrink(rows, alpha):
    lower = np.array([min(a, b) for a, b, _ in rows])
    upper = np.array([max(a, b) for a, b, _ in rows])
    sizes = np.array([size for _, _, size in rows])
    limits = thresholds(lower, upper, sizes, alpha)
    assert (limits >= lower - 1e-9).all() and (limits <= upper + 1e-9).all()
    share = thresholds(np.zeros(len(rows)), np.ones(len(rows)), sizes, alpha)
    order = np.argsort(sizes)
    assert (np.diff(share[order]) <= 1e-12).all()
    if alpha > 0:
        assert limits[sizes.argmax()] == lower[sizes.argmax()]


def test_alpha_zero_gives_every_cluster_its_upper_bound():
    assert thresholds(np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([5, 1]), 0.0).tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("bounds", "fixed", "quantiles", "message"),
    [
        ("nearby", (0, 1), (0, 1), "none of cluster"),
        ("fixed", (3, 2), (0, 1), "lower <= upper"),
        ("quantile", (0, 1), (0.1, 19), "upper <= 1"),
    ],
)
def test_wrong_bounds_are_refused(bounds, fixed, quantiles, message):
    with pytest.raises(InputError, match=message):
        distance_bounds(np.zeros(2), np.zeros(2, int), 1, bounds, fixed, quantiles)


def test_a_negative_alpha_is_refused():
    with pytest.raises(InputError, match="alpha=-1"):
        thresholds(np.zeros(1), np.ones(1), np.ones(1, int), -1)
