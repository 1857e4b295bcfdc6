"""Each rival against its definition, written down naively, and all of them against what they have in common."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from activessf.errors import InputError
from activessf.selection import compact as compacting
from activessf.selection.activessf import ActiveSSF
from activessf.selection.budget import AtBudgetOf
from activessf.selection.class_balanced import class_balanced
from activessf.selection.cluster_balanced import ClusterBalanced, _quotas
from activessf.selection.clusters import cluster
from activessf.selection.compact import compact
from activessf.selection.global_threshold import global_threshold
from activessf.selection.kcenter import kcenter
from activessf.selection.nearest import nearest
from activessf.selection.random import at_random
from activessf.selection.rows import canonical_order
from activessf.selection.typiclust import TypiClust

CLASSES = ["a", "b", "c"]
LIKE = ActiveSSF(
    alpha=0.5, bounds="quantile", lower=15, upper=19, lower_quantile=0.05, upper_quantile=0.95, assignment="nearest",
    prototypes="per_class", num_prototypes=None, prototypes_per_class=1,
)  # fmt: skip
TYPICLUST = TypiClust(max_clusters=500, num_neighbours=20, min_cluster=5)
CLUSTERED = ClusterBalanced([20, 5], resampling_steps=2, nearest_points=5)
RIVALS = [at_random, nearest, global_threshold, class_balanced, kcenter, TYPICLUST, CLUSTERED]


def long_tail(seed, number=300, dimensions=6):
    """Three groups, of which the last is rare."""
    rng = np.random.default_rng(seed)
    owners = rng.choice(3, number, p=[0.8, 0.17, 0.03])
    return (rng.normal(size=(number, dimensions)) + 6 * np.eye(3, dimensions)[owners]).astype(np.float32), owners


LABELED, OWNERS = long_tail(1, 90)
LABELS = np.array(CLASSES)[OWNERS]
CANDIDATES, TRUTH = long_tail(2)


def kept(choice, budget, candidates=CANDIDATES, seed=0):
    return AtBudgetOf(LIKE, choice, budget).select(LABELED, LABELS, CLASSES, candidates, seed)


@pytest.mark.parametrize("choice", RIVALS)
@pytest.mark.parametrize("budget", [1, 40, 299])
def test_the_budget_is_met_and_row_order_and_threads_are_of_no_influence(choice, budget):
    first = kept(choice, budget).kept
    assert first.sum() == budget
    rows = np.random.default_rng(3).permutation(len(CANDIDATES))
    with threadpool_limits(2):
        assert (kept(choice, budget, CANDIDATES[rows]).kept == first[rows]).all()


@pytest.mark.parametrize("choice", RIVALS)
def test_equal_candidates_are_no_trouble(choice):
    assert kept(choice, 7, np.zeros((30, 6), np.float32)).kept.sum() == 7


@pytest.mark.parametrize("choice", RIVALS)
def test_what_is_not_finite_is_refused(choice):
    bad = CANDIDATES.copy()
    bad[3, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        kept(choice, 7, bad)


def test_nearest_is_one_threshold_in_feature_units():
    chosen = kept(nearest, 50)
    assert chosen.distance[chosen.kept].max() <= chosen.distance[~chosen.kept].min()
    assert chosen.distance == pytest.approx(cdist(CANDIDATES, chosen.centres).min(axis=1))


def test_a_global_threshold_is_one_in_units_of_spread():
    # Centre 0 has cells at distance 1, centre 100 at distance 10: mean square 50.5. Spreads: with one more member at
    # that distance, sqrt((2 + 50.5) / 3) = 4.18 and sqrt((200 + 50.5) / 3) = 9.14.
    labeled, labels = np.array([[-1.0], [1.0], [90.0], [110.0]]), np.array(["a", "a", "b", "b"])
    candidates = np.array([[4.0], [5.0], [92.0], [112.0]])  # distances 4, 5, 8, 12: relative 0.96, 1.20, 0.88, 1.31
    for budget, expected in ((1, [2]), (2, [0, 2]), (3, [0, 1, 2])):
        chosen = AtBudgetOf(LIKE, global_threshold, budget).select(labeled, labels, ["a", "b"], candidates, 0)
        assert np.flatnonzero(chosen.kept).tolist() == expected


def test_class_balanced_gives_every_prototype_its_nearest_and_what_is_left_to_the_others():
    chosen = kept(class_balanced, 60)
    there = np.bincount(chosen.prototype, minlength=3)
    rare = there.min()
    assert rare < 20  # or it is no test of what is left over
    counts = np.sort(chosen.prototypes["selected"])
    assert counts[0] == rare and abs(counts[1] - counts[2]) <= 1
    for number in range(3):
        own = chosen.prototype == number
        if (own & ~chosen.kept).any():
            assert chosen.distance[own & chosen.kept].max() <= chosen.distance[own & ~chosen.kept].min()


def test_kcenter_is_the_greedy_loop_of_its_paper():
    covered, expected = LABELED.astype(float).tolist(), []
    for _ in range(40):
        away = cdist(CANDIDATES, covered).min(axis=1)
        expected.append(int(away.argmax()))
        covered.append(CANDIDATES[expected[-1]].astype(float).tolist())
    assert set(np.flatnonzero(kept(kcenter, 40).kept)) == set(expected)


def test_typiclust_takes_the_densest_point_of_every_cluster_without_labeled_cells():
    rng = np.random.default_rng(4)
    centres = np.array([[0, 0], [50, 0], [0, 50], [50, 50]])
    groups = [rng.normal(size=(size, 2)) + centre for size, centre in zip((40, 30, 20, 10), centres, strict=True)]
    labeled, candidates = groups[0], np.concatenate(groups[1:])
    pool_labels = np.array(["a"] * 40)
    choice = TypiClust(max_clusters=4, num_neighbours=3, min_cluster=5)
    like = ActiveSSF(**{**vars(LIKE), "bounds": "cluster"})
    chosen = AtBudgetOf(like, choice, 3).select(labeled, pool_labels, ["a"], candidates, 0)
    expected, start = [], 0
    for group in groups[1:]:
        mean_of_nearest = np.sort(cdist(group, group), axis=1)[:, 1:4].mean(axis=1)
        expected.append(start + int(mean_of_nearest.argmin()))
        start += len(group)
    assert np.flatnonzero(chosen.kept).tolist() == expected
    # with fewer than there are clusters, the largest come first
    chosen = AtBudgetOf(like, choice, 2).select(labeled, pool_labels, ["a"], candidates, 0)
    assert np.flatnonzero(chosen.kept).tolist() == expected[:2]


def test_balanced_sampling_shares_the_budget_equally_from_the_top_down():
    # two branches: one cluster of 100; three clusters of 50, 4 and 10
    parents = [np.repeat([0, 1, 2, 3], [100, 50, 4, 10]), np.array([0, 1, 1, 1])]
    assert _quotas(parents, 40).tolist() == [20, 8, 4, 8]
    assert _quotas(parents, 164).tolist() == [100, 50, 4, 10]


def test_cluster_balanced_raises_the_share_of_what_is_rare():
    chosen = kept(CLUSTERED, 60).kept
    drawn = kept(at_random, 60).kept
    assert (TRUTH[chosen] == 2).sum() > (TRUTH[drawn] == 2).sum()
    assert (TRUTH[chosen] == 0).sum() < (TRUTH[drawn] == 0).sum()


def test_clusters_are_those_of_scikit_learn_and_none_is_empty():
    points = np.random.default_rng(5).normal(size=(200, 3))
    centres, labels = cluster(points, 8, seed=1)
    fitted = KMeans(8, n_init=1, random_state=1).fit(points)
    assert np.allclose(centres, fitted.cluster_centers_) and (labels == fitted.labels_).all()
    centres, labels = cluster(np.repeat([[0.0], [1.0]], 40, axis=0), 60, seed=0)
    assert len(centres) == 2 and sorted(np.bincount(labels)) == [40, 40]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: TypiClust(True, 20, 5), "choice.max_clusters=True must be a whole number, 1 or more"),
        (lambda: ClusterBalanced([True], 1, 1), r"choice.num_clusters=\[True\] must be a list"),
        (lambda: TypiClust(0, 20, 5), "choice.max_clusters=0 must be a whole number, 1 or more"),
        (lambda: TypiClust(500, 0.5, 5), "choice.num_neighbours=0.5 must be"),
        (lambda: ClusterBalanced([], 1, 1), r"choice.num_clusters=\[\] must be a list"),
        (lambda: ClusterBalanced(7, 1, 1), "choice.num_clusters=7 must be a list"),
        (lambda: ClusterBalanced([7], -1, 1), "choice.resampling_steps=-1 must be a whole number, 0 or more"),
    ],
)
def test_settings_that_can_not_be_are_refused(made, message):
    with pytest.raises(InputError, match=message):
        made()


# Compact features


def test_few_features_stay_what_they_are():
    order = canonical_order(CANDIDATES)
    labeled, candidates = compact(LABELED, CANDIDATES, order, 0)
    assert (labeled == LABELED).all() and (candidates == CANDIDATES[order]).all()


def test_many_features_lose_little_of_their_distances_and_nothing_by_their_order(monkeypatch):
    monkeypatch.setattr(compacting, "_LARGEST", 1000)
    monkeypatch.setattr(compacting, "_SAMPLE", 300)
    rng = np.random.default_rng(6)
    flat = rng.normal(size=(400, 20)) @ rng.normal(size=(20, 100)) + 0.01 * rng.normal(size=(400, 100))
    features = flat.astype(np.float32)
    order = canonical_order(features)
    labeled, candidates = compact(features[:30], features, order, 0)
    assert labeled.shape == (30, 64) and candidates.dtype == np.float32
    before, after = cdist(features[order], features[order]), cdist(candidates, candidates)
    assert np.allclose(before, after, rtol=0.02, atol=0.3)
    assert (candidates[np.argsort(order)[:30]] == labeled).all()  # a cell is the same wherever it stands
    mixed = features[rng.permutation(400)]
    assert (compact(features[:30], mixed, canonical_order(mixed), 0)[1] == candidates).all()
    some = order[50:150]  # of some rows only
    assert compact(features, features, some, 0)[1].shape == (100, 64)


@pytest.mark.parametrize("choice", [kcenter, TYPICLUST, CLUSTERED])
def test_row_order_is_of_no_influence_on_many_features(choice, monkeypatch):
    monkeypatch.setattr(compacting, "_LARGEST", 1000)
    candidates, _ = long_tail(7, 400, 90)
    labeled, owners = long_tail(8, 60, 90)
    rows = np.random.default_rng(9).permutation(400)
    chosen, again = (
        AtBudgetOf(LIKE, choice, 50).select(labeled, np.array(CLASSES)[owners], CLASSES, features, 0).kept
        for features in (candidates, candidates[rows])
    )
    assert (again == chosen[rows]).all()
