import warnings

import numpy as np
import pandas as pd
import pytest

from activessf.errors import InputError
from activessf.selection.activessf import ActiveSSF
from activessf.selection.budget import AtBudgetOf, Pool
from activessf.selection.crf import AllRegions
from activessf.selection.random import at_random
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
    assert chosen.centres[chosen.members].ravel().tolist() == [0, 0, 0, 0, 100, 100]


def test_a_prototype_with_one_cell_is_a_warning():
    with pytest.warns(UserWarning, match="1 of 2 prototypes have a single labeled cell"):
        ActiveSSF(**PAPER).select(np.array([[0.0], [1.0], [50.0]]), LABELS[:3], ["a", "b"], CANDIDATES, 0)


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), float("inf"), "high"])
def test_an_alpha_that_is_no_exponent_is_refused(alpha):
    with pytest.raises(InputError, match="selection.alpha=.* must be a number, 0 or more"):
        ActiveSSF(**{**PAPER, "alpha": alpha})


# At a budget


def at_budget(budget, candidates=CANDIDATES):
    return AtBudgetOf(ActiveSSF(**PAPER), at_random, budget).select(LABELED, LABELS, ["a", "b"], candidates, 0)


def test_a_rival_keeps_as_many_as_activessf_with_the_same_prototypes_and_distances():
    guided = ActiveSSF(**PAPER).select(LABELED, LABELS, ["a", "b"], CANDIDATES, 0)
    drawn = at_budget(None)
    assert drawn.kept.sum() == guided.kept.sum() == 4
    assert (drawn.distance == guided.distance).all() and (drawn.threshold == guided.threshold).all()
    assert drawn.prototypes.drop(columns="selected").equals(guided.prototypes.drop(columns="selected"))
    for number, row in drawn.prototypes.iterrows():
        assert row["selected"] == (drawn.kept & (drawn.prototype == number)).sum()


def test_random_draws_differ_by_seed_and_every_candidate_is_drawn_equally_often():
    guided = ActiveSSF(**PAPER).select(LABELED, LABELS, ["a", "b"], CANDIDATES, 0)
    pool = Pool(LABELED, LABELS, ["a", "b"], CANDIDATES, guided)
    drawn = np.concatenate([at_random(pool, 3, seed) for seed in range(300)])
    # 300 x 3/7 = 129 times each, standard deviation 8.6
    assert (np.abs(np.bincount(drawn, minlength=7) - 129) < 40).all()


def test_a_budget_of_ones_own_is_met_and_one_beyond_the_candidates_keeps_all_with_a_warning():
    assert at_budget(1).kept.sum() == 1 and at_budget(6).kept.sum() == 6
    assert at_budget(7).kept.all()
    with pytest.warns(UserWarning, match="selection.budget=8 is more than the 7 candidates; all are kept"):
        assert at_budget(8).kept.all()


def test_a_budget_of_nothing_is_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not at_budget(None, np.array([[500.0], [600.0]])).kept.any()


@pytest.mark.parametrize("budget", [0, -3, 1.5, "many", True])
def test_a_budget_that_is_no_number_of_candidates_is_refused(budget):
    with pytest.raises(InputError, match=f"selection.budget={budget} must be null or a whole number"):
        AtBudgetOf(ActiveSSF(**PAPER), at_random, budget)


# Files


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
