import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans

from activessf.errors import InputError
from activessf.selection.activessf import ActiveSSF
from activessf.selection.crf import AllRegions
from activessf.selection.prototypes import distances, kmeans_prototypes, per_class_prototypes
from activessf.selection.random import RandomRegions
from activessf.selection.stage import select_regions, selected_crops

PAPER = {
    "alpha": 1.0, "bounds": "cluster", "lower": 15, "upper": 19, "lower_quantile": 0.05, "upper_quantile": 0.95,
    "assignment": "nearest", "prototypes": "kmeans", "num_prototypes": None, "prototypes_per_class": 1,
}  # fmt: skip

# Two clusters on a line. Centre 0 owns four cells at distances 1, 1, 2, 2; centre 100 owns two, both at distance 3.
LABELED = np.array([[-1.0], [1.0], [-2.0], [2.0], [97.0], [103.0]])
LABELS = np.array(["a", "a", "a", "b", "b", "b"])
CANDIDATES = np.array([[0.5], [1.0], [1.5], [97.5], [103.0], [103.5], [50.4]])


def test_equations_7_to_9_by_hand():
    chosen = ActiveSSF(**PAPER).select(LABELED, LABELS, ["a", "b"], CANDIDATES, seed=0)
    table = chosen.prototypes.sort_values("size", ascending=False)
    assert table["size"].tolist() == [4, 2]
    assert table["lower"].tolist() == [1.0, 3.0] and table["upper"].tolist() == [2.0, 3.0]
    # the largest cluster has its LB, 1; the other 3 + 0 x (1 - 2/4)
    assert table["threshold"].tolist() == [1.0, 3.0]
    assert table["purity"].tolist() == [0.75, 1.0]
    assert table["a"].tolist() == [3, 0] and table["b"].tolist() == [1, 2]
    assert table["candidates"].tolist() == [3, 4] and table["selected"].tolist() == [2, 2]
    assert chosen.distance == pytest.approx([0.5, 1.0, 1.5, 2.5, 3.0, 3.5, 49.6])
    # a distance equal to the threshold is within it (Eq. 9 has <=)
    assert chosen.kept.tolist() == [True, True, False, True, True, False, False]


def naive_algorithm_1(centres, limits, candidates):
    """The paper's loop: for each cluster, for each region, keep it if it is near."""
    kept = set()
    for centre, limit in zip(centres, limits, strict=True):
        for number, candidate in enumerate(candidates):
            if np.sqrt(sum((a - b) ** 2 for a, b in zip(candidate, centre, strict=True))) <= limit:
                kept.add(number)
    return kept


def test_any_assignment_is_algorithm_1_and_nearest_keeps_no_more():
    rng = np.random.default_rng(0)
    labeled, candidates = rng.normal(size=(60, 3)), rng.normal(size=(200, 3))
    labels = np.array(["a", "b", "c"])[rng.integers(3, size=60)]
    settings = {**PAPER, "num_prototypes": 5, "bounds": "quantile", "lower_quantile": 0.1, "upper_quantile": 0.9}
    chosen = ActiveSSF(**{**settings, "assignment": "any"}).select(labeled, labels, ["a", "b", "c"], candidates, 0)
    found = KMeans(5, n_init=10, random_state=0).fit(labeled)
    expected = naive_algorithm_1(found.cluster_centers_, chosen.prototypes["threshold"], candidates)
    assert set(np.flatnonzero(chosen.kept)) == expected
    nearest = ActiveSSF(**settings).select(labeled, labels, ["a", "b", "c"], candidates, 0)
    assert set(np.flatnonzero(nearest.kept)) <= expected
    for number in range(len(candidates)):
        away = [np.linalg.norm(candidates[number] - centre) for centre in found.cluster_centers_]
        near = min(range(5), key=away.__getitem__)
        assert nearest.prototype[number] == near
        assert nearest.kept[number] == (away[near] <= nearest.prototypes["threshold"][near])


def test_prototypes_are_the_means_of_their_members():
    features = np.random.default_rng(1).normal(size=(50, 4))
    found = kmeans_prototypes(features, 6, seed=0)
    for number, centre in enumerate(found.centres):
        assert centre == pytest.approx(features[found.members == number].mean(axis=0))
    assert found.sizes.sum() == 50 and found.sizes.min() >= 1
    assert (distances(features, found.centres).argmin(axis=1) == found.members).all()  # Eq. 5


def test_per_class_prototypes_hold_one_class_each():
    rng = np.random.default_rng(2)
    labels = np.array(["a"] * 20 + ["b"] * 2)
    found = per_class_prototypes(rng.normal(size=(22, 3)), labels, ["a", "b", "c"], per_class=4, seed=0)
    assert len(found.centres) == 4 + 2  # a class with two cells can have two prototypes at most, c has none
    for number in range(6):
        assert len(set(labels[found.members == number])) == 1


def test_too_many_prototypes_are_refused():
    with pytest.raises(InputError, match="num_prototypes=7 prototypes can't be made of 6 labeled cells"):
        ActiveSSF(**{**PAPER, "num_prototypes": 7}).select(LABELED, LABELS, ["a", "b"], CANDIDATES, 0)


def test_equal_cells_give_fewer_prototypes_and_a_warning():
    with pytest.warns(UserWarning, match="only 2 distinct features"):
        found = kmeans_prototypes(np.array([[0.0], [0.0], [5.0], [5.0]]), 3, seed=0)
    assert len(found.centres) == 2 and found.sizes.tolist() == [2, 2]


def test_a_prototype_with_one_cell_is_a_warning():
    with pytest.warns(UserWarning, match="1 of 2 prototypes have a single labeled cell"):
        ActiveSSF(**PAPER).select(np.array([[0.0], [1.0], [50.0]]), LABELS[:3], ["a", "b"], CANDIDATES, 0)


def test_random_keeps_as_many_as_activessf_and_others():
    rng = np.random.default_rng(3)
    labeled, candidates = rng.normal(size=(40, 2)), rng.normal(size=(300, 2))
    labels = np.array(["a", "b"])[rng.integers(2, size=40)]
    like = ActiveSSF(**{**PAPER, "num_prototypes": 4})
    guided = like.select(labeled, labels, ["a", "b"], candidates, 0)
    drawn = RandomRegions(like).select(labeled, labels, ["a", "b"], candidates, 0)
    assert drawn.kept.sum() == guided.kept.sum() > 0
    assert (drawn.kept != guided.kept).any()
    assert (drawn.kept == RandomRegions(like).select(labeled, labels, ["a", "b"], candidates, 0).kept).all()
    assert drawn.prototypes["selected"].sum() == drawn.kept.sum()


def select(strategy, candidates, folder):
    crops = [f"crops/{number}.png" for number in range(len(candidates))]
    select_regions(strategy, LABELED, LABELS, ["a", "b"], crops, candidates, 0, folder)


def test_the_files_say_what_was_decided(tmp_path):
    select(ActiveSSF(**PAPER), CANDIDATES, tmp_path)
    table = pd.read_csv(tmp_path / "selection.csv")
    assert list(table.columns) == ["crop", "prototype", "distance", "threshold", "selected"]
    assert ((table["distance"] <= table["threshold"]) == (table["selected"] == 1)).all()
    assert selected_crops(tmp_path) == ["crops/0.png", "crops/1.png", "crops/3.png", "crops/4.png"]
    prototypes = pd.read_csv(tmp_path / "prototypes.csv")
    assert prototypes["selected"].sum() == 4 and prototypes["candidates"].sum() == 7


def test_crf_keeps_every_region(tmp_path):
    select(AllRegions(), np.zeros((3, 0)), tmp_path)
    assert len(selected_crops(tmp_path)) == 3
    assert pd.read_csv(tmp_path / "prototypes.csv").empty


def test_nothing_selected_is_said_with_distances_and_cures(tmp_path):
    with pytest.raises(InputError, match="None of the 2 candidate regions.*smallest distance.*400.*selection.alpha"):
        select(ActiveSSF(**PAPER), np.array([[500.0], [600.0]]), tmp_path)


def test_no_candidates_is_said(tmp_path):
    with warnings.catch_warnings(), pytest.raises(InputError, match="Stage 1 found no region"):
        select(ActiveSSF(**PAPER), np.zeros((0, 1)), tmp_path)
