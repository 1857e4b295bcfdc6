import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activessf.data.folds import assign_folds, training_and_test, unlabeled_pool
from activessf.errors import InputError


def cells_of(labels, groups=None, splits=None):
    count = len(labels)
    groups = [""] * count if groups is None else groups
    return pd.DataFrame(
        {
            "image": [f"{number:03d}.png" for number in range(count)],
            "label": labels,
            "x": 0, "y": 0, "width": 10, "height": 10,
            "group": groups,
            "joined_group": groups,
            "split": [""] * count if splits is None else splits,
        }
    )  # fmt: skip


def test_every_class_is_spread_evenly_over_the_folds():
    folded = assign_folds(cells_of(["a"] * 50 + ["b"] * 10), num_folds=5, seed=0)
    assert (pd.crosstab(folded["label"], folded["fold"]).to_numpy() == [[10] * 5, [2] * 5]).all()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 11)), min_size=40, max_size=80), st.integers(0, 9))
def test_no_group_is_in_two_folds_and_every_cell_is_in_one(rows, seed):
    labels, groups = zip(*rows, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            folded = assign_folds(cells_of(labels, [f"g{number}" for number in groups]), 5, seed)
        except InputError:
            return  # too uneven for five folds: said so
    assert folded.groupby("group")["fold"].nunique().max() == 1
    assert len(folded) == len(rows) and folded["fold"].isin(range(5)).all()


def test_groups_that_are_joined_are_in_one_fold_and_keep_their_own_names():
    groups = [f"g{number // 2:02d}" for number in range(40)]
    cells = cells_of(list("ab") * 20, groups).assign(joined_group=["g00" if g in ("g07", "g13") else g for g in groups])
    folded = assign_folds(cells, 5, 0)
    assert folded["group"].tolist() == groups
    assert folded.loc[folded["group"].isin(["g00", "g07", "g13"]), "fold"].nunique() == 1
    assert folded["fold"].nunique() == 5


def test_the_order_of_rows_has_no_influence_and_the_seed_has():
    cells = cells_of(list("aaabbb") * 10, [f"g{number % 17}" for number in range(60)])
    shuffled = cells.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(assign_folds(cells, 5, 0), assign_folds(shuffled, 5, 0))
    assert (assign_folds(cells, 5, 0)["fold"] != assign_folds(cells, 5, 1)["fold"]).any()


def test_folds_are_the_same_on_every_machine():
    # Written down once; a change of library that moves folds must not pass unseen.
    folded = assign_folds(cells_of(list("aab") * 5), 5, 0)
    assert folded["fold"].tolist() == PINNED


PINNED = [1, 4, 1, 2, 4, 0, 0, 3, 2, 3, 1, 3, 0, 2, 4]


def test_a_class_with_fewer_cells_than_folds_is_a_warning_that_names_it():
    with pytest.warns(UserWarning, match="'rare' \\(3 cells\\) has no test cell in fold"):
        folded = assign_folds(cells_of(["common"] * 40 + ["rare"] * 3), 5, 0)
    assert (folded["label"] == "rare").sum() == 3


def test_a_given_split_is_used_as_it_is():
    splits = [str(number % 5) for number in range(20)]
    assert assign_folds(cells_of(list("ab") * 10, splits=splits), 5, 0)["fold"].tolist() == list(map(int, splits))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (cells_of(["a", "b"] * 2), "No class has 5 cells"),
        (cells_of(["a", "b"] * 10, ["p1"] * 10 + ["p2"] * 10), "2 groups can't be spread over 5 folds"),
        (cells_of(["a", "b"] * 10, ["p1"] * 19 + [""]), "1 of 20 cells have no group"),
        (cells_of(["a", "b"] * 10, splits=["train"] * 20), "found 'train'"),
        (cells_of(["a", "b"] * 10, splits=["0"] * 19 + [""]), "found an empty one"),
        (cells_of(["a", "b"] * 10, splits=["0", "1"] * 10), "no cell into fold 2, 3, 4"),
        (
            cells_of(["a", "b"] * 10, ["p1"] * 10 + ["p2"] * 10, [str(number % 5) for number in range(20)]),
            "puts group 'p1' into 5 folds \\(2 such groups\\)",
        ),
    ],
)
def test_impossible_folds_are_refused_with_the_cure(cells, message):
    with pytest.raises(InputError, match=message):
        assign_folds(cells, 5, 0)


def test_the_pool_holds_no_image_that_a_test_cell_comes_from():
    cells = cells_of(list("ab") * 10, [f"slide{number // 4}" for number in range(20)])
    folded = assign_folds(cells, 5, 0)
    images = [*cells["image"], "unlabeled.png", *(f"slides/slide{number}.jpg" for number in range(5))]
    for fold in range(5):
        _, test = training_and_test(folded, fold)
        pool = unlabeled_pool(images, folded, fold)
        withheld = set(images) - set(pool)
        # the images of test cells, and the slide that their group names
        assert withheld == set(test["image"]) | {f"slides/{group}.jpg" for group in test["group"]}
        assert "unlabeled.png" in pool
    assert np.unique(folded["fold"]).tolist() == [0, 1, 2, 3, 4]


def test_all_slides_of_a_test_patient_are_withheld():
    cells = assign_folds(cells_of(list("ab") * 10, [f"p{number // 4}" for number in range(20)]), 5, 0)
    groups = {"slides/x.png": "p0", "slides/y.png": "p1"}
    (fold_of_p0,) = set(cells.loc[cells["group"] == "p0", "fold"])
    pool = unlabeled_pool(["slides/x.png", "slides/y.png", "slides/z.png"], cells, fold_of_p0, groups)
    assert pool == ["slides/y.png", "slides/z.png"]
