from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activessf.training.held_out import pr_auc, scores, split

TARGETS = np.array([0] * 60 + [1] * 40 + [2] * 20)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), min_size=2, max_size=60),
    st.sampled_from([0.1, 0.2, 0.33, 0.5]),
    st.integers(0, 5),
)
def test_no_group_is_on_both_sides_and_every_row_on_one(rows, share, seed):
    targets = np.array([target for target, _ in rows])
    groups = ["" if group == 0 else f"patient {group}" for _, group in rows]
    parts = split(targets, groups, share, seed)
    if parts is None:
        assert len(set(groups)) < 2 and "" not in groups or Counter(targets.tolist()).most_common(1)[0][1] < 2
        return
    assert sorted([*parts.known, *parts.held_out]) == list(range(len(rows)))
    assert len(parts.known) and len(parts.held_out)
    known = {groups[row] for row in parts.known} - {""}
    assert known.isdisjoint(groups[row] for row in parts.held_out)
    again = split(targets, groups, share, seed)
    assert (again.held_out == parts.held_out).all()


@pytest.mark.parametrize("groups", [[""] * 120, [f"slide {row // 4}" for row in range(120)]])
def test_the_held_out_rows_have_the_classes_of_all(groups):
    parts = split(TARGETS, groups, 0.2, 0)
    assert Counter(TARGETS[parts.held_out].tolist()) == {0: 12, 1: 8, 2: 4}
    other = split(TARGETS, groups, 0.2, 1)
    assert (other.held_out != parts.held_out).any()


def test_a_class_of_one_row_is_no_reason_for_a_warning(recwarn):
    assert split(np.array([0, 0, 0, 0, 0, 1]), [""] * 6, 0.2, 0) is not None
    assert not recwarn.list


def test_nothing_is_held_out_of_one_group_or_of_classes_of_one_row():
    assert split(TARGETS, ["patient"] * 120, 0.2, 0) is None
    assert split(np.arange(5), [""] * 5, 0.2, 0) is None
    assert split(np.zeros(0, np.int64), [], 0.2, 0) is None


def test_scores_by_hand():
    truth, predictions = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 2])
    accuracy, f1 = scores(predictions, truth)
    assert accuracy == 0.5
    assert f1 == pytest.approx((2 * 1 * (2 / 3) / (1 + 2 / 3) + 0) / 2)  # class 2 is none of the true ones


def test_the_pr_auc_by_hand_is_the_mean_over_the_classes_that_are_there():
    # Class 0 stands at ranks 1 and 3 of its column: (1 + 2/3) / 2. Class 2 at rank 2: 1/2. Class 1 is not there.
    probabilities = np.array([[0.7, 0.1, 0.2], [0.5, 0.2, 0.3], [0.4, 0.5, 0.1]])
    assert pr_auc(probabilities, np.array([0, 2, 0])) == pytest.approx((5 / 6 + 1) / 2)
    swapped = probabilities[:, [0, 2, 1]]  # now class 2 has 0.1, 0.2, 0.5: the true one is second
    assert pr_auc(swapped, np.array([0, 2, 0])) == pytest.approx((5 / 6 + 1 / 2) / 2)
