"""Eq. 4 to 9 against a naive transcription of Algorithm 1, on random and degenerate cells."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from activessf.errors import InputError
from activessf.selection.activessf import ActiveSSF

CLASSES = ["a", "b", "c"]
PAPER = {
    "alpha": 1.0, "bounds": "cluster", "lower": 15, "upper": 19, "lower_quantile": 0.05, "upper_quantile": 0.95,
    "assignment": "any", "prototypes": "kmeans", "num_prototypes": None, "prototypes_per_class": 1,
}  # fmt: skip


def select(labeled, candidates, seed=0, labels=None, **changes):
    labels = np.array(CLASSES)[np.arange(len(labeled)) % 3] if labels is None else labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return ActiveSSF(**{**PAPER, **changes}).select(labeled, labels, CLASSES, candidates, seed)


def norm(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def naive_prototypes(labeled, centres):
    """`while not converged`: Eq. 5, then Eq. 6, until nothing moves."""
    while True:
        members = [min(range(len(centres)), key=lambda i: norm(x, centres[i])) for x in labeled]  # noqa: B023
        moved = []
        for i in range(len(centres)):
            own = [x for x, member in zip(labeled, members, strict=True) if member == i]
            moved.append([sum(values) / len(own) for values in zip(*own, strict=True)] if own else list(centres[i]))
        if all(norm(old, new) < 1e-9 for old, new in zip(centres, moved, strict=True)):
            return moved, members
        centres = moved


def naive_thresholds(labeled, centres, members, alpha):
    """Eq. 8 with LB and UB of each cluster."""
    sizes = [members.count(i) for i in range(len(centres))]
    limits = []
    for i in range(len(centres)):
        own = [norm(x, centres[i]) for x, member in zip(labeled, members, strict=True) if member == i]
        limits.append(min(own) + (max(own) - min(own)) * (1 - sizes[i] / max(sizes)) ** alpha)
    return limits


def naive_selection(centres, limits, candidates):
    """`for each cluster, for each region`: S'_i, the rows that it takes."""
    return [
        {row for row, x in enumerate(candidates) if norm(x, centre) <= limit}
        for centre, limit in zip(centres, limits, strict=True)
    ]


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_selection_is_that_of_algorithm_1(seed, alpha):
    rng = np.random.default_rng(seed)
    labeled, candidates = rng.normal(size=(60, 3)), rng.normal(size=(150, 3))
    chosen = select(labeled, candidates, seed, alpha=alpha, num_prototypes=5)
    centres, members = naive_prototypes(labeled.tolist(), chosen.centres.tolist())
    assert np.allclose(centres, chosen.centres) and members == chosen.members.tolist()  # converged
    limits = naive_thresholds(labeled.tolist(), centres, members, alpha)
    assert chosen.prototypes["threshold"].tolist() == pytest.approx(limits)
    taken = naive_selection(centres, limits, candidates.tolist())
    assert set(np.flatnonzero(chosen.kept)) == set.union(*taken)
    assert chosen.prototypes["selected"].tolist() == [len(rows) for rows in taken]
    nearest = select(labeled, candidates, seed, alpha=alpha, num_prototypes=5, assignment="nearest")
    for row, x in enumerate(candidates.tolist()):
        own = min(range(5), key=lambda i: norm(x, centres[i]))  # noqa: B023
        assert nearest.prototype[row] == own and nearest.kept[row] == (row in taken[own])
        assert nearest.distance[row] == pytest.approx(norm(x, centres[own]))


def test_the_prototypes_are_as_good_a_minimum_of_equation_4_as_scikit_learns():
    labeled = np.random.default_rng(5).normal(size=(80, 4))
    chosen = select(labeled, labeled, num_prototypes=6)
    objective = ((labeled - chosen.centres[chosen.members]) ** 2).sum()
    best = min(KMeans(6, n_init=1, random_state=start).fit(labeled).inertia_ for start in range(50))
    assert objective <= 1.05 * best


# Degenerate


def test_one_cluster_has_its_lower_bound():
    labeled = np.array([[-3.0], [1.0], [2.0]])  # centre 0, distances 3, 1, 2
    chosen = select(labeled, np.array([[0.9], [-1.0], [1.1]]), num_prototypes=1)
    assert chosen.prototypes["threshold"].tolist() == [1.0] and chosen.kept.tolist() == [True, True, False]


def test_a_cluster_that_would_be_empty_is_no_prototype():
    labeled, labels = np.array([[0.0], [0.0], [4.0], [4.0]]), np.array(["a", "b", "c", "c"])
    with pytest.warns(UserWarning, match="2 distinct features, so there are 2 prototypes instead of 3"):
        chosen = ActiveSSF(**PAPER).select(labeled, labels, CLASSES, np.array([[0.0], [1.0], [4.0]]), 0)
    assert chosen.prototypes["size"].min() >= 1 and np.isfinite(chosen.prototypes["threshold"]).all()
    assert chosen.kept.tolist() == [True, False, True]


def test_equal_distances_make_the_bounds_equal():
    labeled = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    for alpha in (0, 1, 7):
        chosen = select(labeled, np.array([[0.0, 0.9], [0.0, 1.1]]), num_prototypes=1, alpha=alpha)
        (row,) = chosen.prototypes.itertuples()
        assert row.lower == row.upper == row.threshold == 1.0 and chosen.kept.tolist() == [True, False]


def test_clusters_of_equal_size_all_have_their_lower_bound():
    labeled = np.array([[-1.0], [0.0], [1.0], [99.0], [100.0], [101.0]])
    chosen = select(labeled, labeled, num_prototypes=2)
    assert chosen.prototypes["threshold"].tolist() == [0.0, 0.0]
    assert chosen.kept.tolist() == [False, True, False, False, True, False]


def test_alpha_0_gives_every_cluster_its_upper_bound_so_that_all_labeled_cells_pass():
    labeled = np.random.default_rng(6).normal(size=(40, 3))
    chosen = select(labeled, labeled, num_prototypes=4, alpha=0)
    assert (chosen.prototypes["threshold"] == chosen.prototypes["upper"]).all() and chosen.kept.all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("prototypes", ["kmeans", "per_class"])
def test_features_that_are_not_finite_are_refused(value, prototypes):
    good = np.random.default_rng(7).normal(size=(12, 3))
    bad = good.copy()
    bad[7, 1] = value
    with pytest.raises(InputError, match="labeled cells are not finite"):
        select(bad, good, prototypes=prototypes)
    with pytest.raises(InputError, match="not finite.*check the network's weights"):
        select(good, bad, prototypes=prototypes)


def test_more_prototypes_than_cells_are_refused():
    with pytest.raises(InputError, match="num_prototypes=5 prototypes can't be made of 4 labeled cells"):
        select(np.zeros((4, 2)), np.zeros((4, 2)), num_prototypes=5)


# Invariances


@pytest.mark.parametrize("changes", [{}, {"assignment": "nearest"}, {"prototypes": "per_class"}])
def test_the_order_of_cells_and_candidates_is_of_no_influence(changes):
    rng = np.random.default_rng(8)
    labeled, candidates = rng.normal(size=(50, 4)).astype(np.float32), rng.normal(size=(120, 4)).astype(np.float32)
    labels = np.array(CLASSES)[rng.integers(3, size=50)]
    first = select(labeled, candidates, labels=labels, bounds="quantile", **changes)
    cells, rows = rng.permutation(50), rng.permutation(120)
    second = select(labeled[cells], candidates[rows], labels=labels[cells], bounds="quantile", **changes)
    assert (second.kept == first.kept[rows]).all() and (second.prototype == first.prototype[rows]).all()
    assert (second.distance == first.distance[rows]).all() and (second.members == first.members[cells]).all()
    assert second.prototypes.equals(first.prototypes)


def test_the_number_of_threads_is_of_no_influence():
    rng = np.random.default_rng(9)
    labeled, candidates = rng.normal(size=(3000, 32)).astype(np.float32), rng.normal(size=(500, 32)).astype(np.float32)
    made = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            made.append(select(labeled, candidates, num_prototypes=7))
    assert (made[0].centres == made[1].centres).all() and (made[0].distance == made[1].distance).all()


FEW = arrays(np.float64, st.tuples(st.integers(3, 20), st.just(2)), elements=st.integers(-5, 5).map(float))
PROPERTIES = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
BOUNDS = st.sampled_from(["cluster", "quantile", "fixed"])


@PROPERTIES
@given(FEW, FEW, BOUNDS, st.floats(0, 4), st.floats(0, 4))
def test_a_larger_alpha_never_keeps_more_and_thresholds_stay_between_the_bounds(labeled, candidates, bounds, one, two):
    wide = select(labeled, candidates, alpha=min(one, two), bounds=bounds, lower=1, upper=4)
    narrow = select(labeled, candidates, alpha=max(one, two), bounds=bounds, lower=1, upper=4)
    assert not (narrow.kept & ~wide.kept).any()
    for chosen in (wide, narrow):
        table = chosen.prototypes
        assert (table["threshold"] >= table["lower"] - 1e-9).all()
        assert (table["threshold"] <= table["upper"] + 1e-9).all()


@PROPERTIES
@given(FEW, FEW, st.floats(0, 4), st.floats(0, 9), st.floats(0, 9))
def test_what_is_kept_grows_with_the_upper_bound(labeled, candidates, alpha, one, two):
    settings = {"alpha": alpha, "bounds": "fixed", "lower": 0}
    narrow = select(labeled, candidates, **settings, upper=min(one, two))
    wide = select(labeled, candidates, **settings, upper=max(one, two))
    assert not (narrow.kept & ~wide.kept).any()


@PROPERTIES
@given(FEW, FEW, BOUNDS, st.floats(0, 4))
def test_nearest_keeps_no_more_than_any_and_counts_add_up(labeled, candidates, bounds, alpha):
    anyone = select(labeled, candidates, bounds=bounds, alpha=alpha, lower=1, upper=4)
    nearest = select(labeled, candidates, bounds=bounds, alpha=alpha, lower=1, upper=4, assignment="nearest")
    assert not (nearest.kept & ~anyone.kept).any()
    assert nearest.prototypes["selected"].sum() == nearest.kept.sum()
    assert anyone.prototypes["candidates"].sum() == len(candidates)
