from dataclasses import replace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from activessf.configuration import CONF, build, without
from activessf.errors import InputError
from activessf.selection import duplicates
from activessf.selection.activessf import ActiveSSF
from activessf.selection.activessf_plus import ActiveSSFPlus, _target_shares
from activessf.selection.duplicates import first_of_each, typical_distance

CLASSES = ["a", "b", "c"]
BASE = ActiveSSF(
    alpha=0.5, bounds="quantile", lower=15, upper=19, lower_quantile=0.5, upper_quantile=1.0, assignment="nearest",
    prototypes="per_class", num_prototypes=None, prototypes_per_class=1,
)  # fmt: skip
OFF = {"base": BASE, "target": None, "deduplicate": None, "abstain": None, "budget": None}


def made_up(seed, number):
    rng = np.random.default_rng(seed)
    owners = rng.choice(3, number, p=[0.7, 0.2, 0.1])
    return rng.normal(size=(number, 4)) + 5 * np.eye(3, 4)[owners], np.array(CLASSES)[owners]


LABELED, LABELS = made_up(1, 120)
CANDIDATES, TRUTH = made_up(2, 400)


def select(candidates=CANDIDATES, **changes):
    return ActiveSSFPlus(**{**OFF, **changes}).select(LABELED, LABELS, CLASSES, candidates, 0)


def test_with_every_part_left_out_it_is_its_base():
    chosen, base = select(), BASE.select(LABELED, LABELS, CLASSES, CANDIDATES, 0)
    assert (chosen.kept == base.kept).all() and (chosen.threshold == base.threshold).all()
    assert chosen.prototypes.equals(base.prototypes)


def by_class(chosen):
    return np.bincount(chosen.prototype[chosen.kept], minlength=3)  # prototype k is of class k


def test_without_a_budget_no_subtype_keeps_more_than_its_share_and_only_what_passes():
    everyone = select()
    passing = by_class(everyone)
    thinned = select(target="balanced")
    assert by_class(thinned).tolist() == np.minimum(passing, np.ceil(passing.sum() / 3)).tolist()
    assert not (thinned.kept & ~everyone.kept).any() and thinned.kept.sum() < everyone.kept.sum()
    for number in range(3):
        own = everyone.kept & (everyone.prototype == number)
        if (own & ~thinned.kept).any():
            assert thinned.distance[own & thinned.kept].max() <= thinned.distance[own & ~thinned.kept].min()


def test_with_a_budget_the_mix_is_that_of_the_target():
    assert by_class(select(target="balanced", budget=60)).tolist() == [20, 20, 20]
    labeled = np.array([(LABELS == name).sum() for name in CLASSES])
    natural = by_class(select(target="natural", budget=120))
    assert np.abs(natural - labeled).max() <= 1
    half = by_class(select(target=0.5, budget=120))
    assert np.abs(half - (labeled + 40) / 2).max() <= 1


def test_with_a_budget_those_within_the_thresholds_come_first():
    for number in range(3):
        chosen = select(target="balanced", budget=150)
        own, within = chosen.prototype == number, chosen.distance <= chosen.threshold
        assert not (own & within & ~chosen.kept).any() or not (own & ~within & chosen.kept).any()


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["cluster", "quantile", "fixed"]),
    st.floats(0, 4),
    st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    st.integers(1, 399),
    st.sampled_from(["balanced", "natural", 0.5]),
)
def test_under_a_budget_and_a_target_bounds_have_no_part(bounds, alpha, quantiles, budget, target):
    base = replace(BASE, bounds=bounds, alpha=alpha, lower_quantile=quantiles[0], upper_quantile=quantiles[1])
    assert (select(base=base, target=target, budget=budget).kept == select(target=target, budget=budget).kept).all()


def test_shares_of_a_target_by_hand():
    labeled, subtypes = np.array([60, 30, 10, 0]), np.array([0, 1, 2])
    assert _target_shares("natural", labeled, subtypes) == pytest.approx([0.6, 0.3, 0.1, 0])
    assert _target_shares("balanced", labeled, subtypes) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert _target_shares(0.25, labeled, subtypes) == pytest.approx([0.45 + 1 / 12, 0.225 + 1 / 12, 0.075 + 1 / 12, 0])
    # the third class is the commonest of no prototype: nothing can be kept for it
    assert _target_shares("natural", labeled, np.array([0, 1, 1])) == pytest.approx([2 / 3, 1 / 3, 0, 0])


def test_strangers_are_never_kept_however_large_the_budget():
    strangers = np.full((30, 4), 40.0) + np.random.default_rng(3).normal(size=(30, 4))
    candidates = np.concatenate([CANDIDATES, strangers])
    with pytest.warns(UserWarning, match="Only 4.. candidates are left for selection.budget=430"):
        chosen = select(candidates, abstain=1.0, budget=430)
    assert not chosen.kept[400:].any() and chosen.kept.sum() >= 380
    assert select(candidates, budget=430).kept.all()


def test_the_limit_of_abstention_is_a_quantile_of_leave_one_out_distances():
    away = []
    for out in range(len(LABELED)):
        rest = np.arange(len(LABELED)) != out
        means = np.array([LABELED[rest & (LABELS == name)].mean(axis=0) for name in CLASSES])
        away.append(cdist(LABELED[[out]], means).min())
    limit = np.quantile(away, 0.4, method="lower")
    chosen, wide = select(abstain=0.4), select()
    assert (chosen.kept == (wide.kept & (wide.distance <= limit + 1e-9))).all()
    assert chosen.threshold == pytest.approx(np.minimum(wide.threshold, limit))
    assert chosen.prototypes["threshold"].max() == pytest.approx(limit)


def test_of_copies_the_one_nearest_its_prototype_is_kept():
    noise = np.random.default_rng(4).normal(size=CANDIDATES.shape) * 1e-3
    doubled = np.concatenate([CANDIDATES, CANDIDATES + noise])
    chosen = select(doubled, deduplicate=0.1)
    pairs = chosen.kept.reshape(2, -1)
    assert not pairs.all(axis=0).any()
    single = select(deduplicate=0.1)
    assert chosen.kept.sum() == pytest.approx(single.kept.sum(), abs=3)  # noise may carry one across a threshold
    both = select(doubled).kept.reshape(2, -1).all(axis=0) & pairs.any(axis=0)
    nearer = chosen.distance.reshape(2, -1).argmin(axis=0)
    assert pairs[nearer, np.arange(400)][both].all()


@pytest.mark.parametrize("budget", [None, 90])
def test_the_order_of_the_candidates_is_of_no_influence(budget):
    doubled = np.concatenate([CANDIDATES, CANDIDATES + 1e-3])
    parts = {"target": "balanced", "deduplicate": 0.3, "abstain": 0.95, "budget": budget}
    rows = np.random.default_rng(5).permutation(len(doubled))
    assert (select(doubled[rows], **parts).kept == select(doubled, **parts).kept[rows]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "rare"}, "selection.target=rare must be natural, balanced, a number in 0-1, or null"),
        ({"target": 1.5}, "selection.target=1.5"),
        ({"deduplicate": -1}, "selection.deduplicate=-1 must be null or a share"),
        ({"abstain": "far"}, "selection.abstain=far must be null or a share"),
        ({"budget": 0}, "selection.budget=0"),
    ],
)
def test_settings_that_can_not_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        ActiveSSFPlus(**{**OFF, **changes})


# Copies


def test_the_typical_distance_is_the_median_to_the_nearest_other():
    # nearest other: 1, 1, 2, 3
    assert typical_distance(np.array([[0.0], [1.0], [3.0], [6.0]])) == 1.5
    assert typical_distance(np.array([[7.0]])) == 0.0


POINTS = arrays(np.float32, st.tuples(st.integers(1, 25), st.just(2)), elements=st.integers(-6, 6).map(float))


@settings(deadline=None, max_examples=60)
@given(POINTS, st.floats(0, 4), st.randoms())
def test_what_remains_is_apart_and_what_is_dropped_is_near_an_earlier_one(points, radius, random):
    priority = list(range(len(points)))
    random.shuffle(priority)
    remains = first_of_each(points, np.array(priority), radius, 0)
    expected: list[int] = []
    for row in np.argsort(priority):
        if all(np.linalg.norm(points[row].astype(float) - points[other].astype(float)) > radius for other in expected):
            expected.append(row)
    assert np.flatnonzero(remains).tolist() == sorted(expected)


def test_many_points_are_compared_within_their_neighbourhood(monkeypatch):
    monkeypatch.setattr(duplicates, "_CELL", 40)
    points = np.random.default_rng(6).normal(size=(300, 3)).astype(np.float32)
    doubled = np.concatenate([points, points])
    remains = first_of_each(doubled, np.arange(600), 0.0, 0)
    assert remains[:300].all() and not remains[300:].any()


def test_rivals_can_be_compared_with_it_too(monkeypatch):
    monkeypatch.setenv("ACTIVESSF_ROOT", "/nowhere")
    monkeypatch.setenv("ACTIVESSF_PROCESS", "1")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        selection = compose(
            "config",
            ["selection=nearest", "selection/strategy@selection.like=activessf_plus", "selection.like.target=0.5"],
        ).selection
    rival = build(without(selection, "name", "pool", "scope", "features"))
    chosen = rival.select(LABELED, LABELS, CLASSES, CANDIDATES, 0)
    guided = rival.like.select(LABELED, LABELS, CLASSES, CANDIDATES, 0)
    assert rival.like.target == 0.5 and chosen.kept.sum() == guided.kept.sum() > 0
