from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from activessf.training.watching.features import feature_std
from activessf.training.watching.probe import (
    Split,
    knn_predictions,
    linear_predictions,
    scores,
    split,
    thinned,
)

RNG = np.random.default_rng(0)
TARGETS = np.array([0] * 60 + [1] * 40 + [2] * 20)
FEATURES = (RNG.normal(size=(120, 10)) + 1.5 * np.eye(10)[TARGETS]).astype(np.float32)
PARTS = Split(np.arange(0, 120, 2), np.arange(1, 120, 2))


def naive_knn(features, targets, parts, neighbours, temperature):
    """The loop of the published protocol, a query at a time, on standardised features."""
    known = features[parts.known].astype(np.float64)
    centred = (features - known.mean(axis=0)) / known.std(axis=0)
    directions = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    predictions = []
    for query in parts.held_out:
        similarity = {row: float(directions[query] @ directions[row]) for row in parts.known}
        votes = np.zeros(targets.max() + 1)
        for row in sorted(similarity, key=similarity.__getitem__, reverse=True)[:neighbours]:
            votes[targets[row]] += np.exp(similarity[row] / temperature)
        predictions.append(int(votes.argmax()))
    return predictions


@pytest.mark.parametrize(("neighbours", "temperature"), [(20, 0.07), (1, 0.07), (7, 1.0)])
def test_the_neighbours_vote_as_in_a_naive_loop(neighbours, temperature):
    found = knn_predictions(FEATURES, TARGETS, PARTS, neighbours, temperature)
    assert found.tolist() == naive_knn(FEATURES, TARGETS, PARTS, neighbours, temperature)
    assert 0.5 < np.mean(found == TARGETS[PARTS.held_out]) < 1


def test_a_near_neighbour_outvotes_two_that_are_farther_off_if_the_temperature_is_low():
    features = np.array([[1, 0], [1, 0.1], [1, 0.9], [0.9, 1]], np.float32)
    targets = np.array([0, 0, 1, 1])
    parts = Split(np.array([1, 2, 3]), np.array([0]))
    assert knn_predictions(features, targets, parts, 3, 0.07).tolist() == [0]
    assert knn_predictions(features, targets, parts, 3, 10.0).tolist() == [1]


def test_all_that_are_known_vote_where_they_are_fewer_than_the_neighbours():
    found = knn_predictions(FEATURES, TARGETS, PARTS, 1000, 0.07)
    assert found.tolist() == naive_knn(FEATURES, TARGETS, PARTS, len(PARTS.known), 0.07)


def test_a_mean_that_all_features_share_does_not_hide_what_sets_them_apart():
    moved = FEATURES * np.linspace(0.1, 10, FEATURES.shape[1], dtype=np.float32) + 100  # every cosine is nearly 1
    usual, hidden = (knn_predictions(values, TARGETS, PARTS, 20, 0.07) for values in (FEATURES, moved))
    assert (usual == hidden).mean() > 0.98


def test_the_linear_probe_is_a_logistic_regression_on_standardised_features():
    known = FEATURES[PARTS.known].astype(float)
    centred = (FEATURES - known.mean(axis=0)) / known.std(axis=0)
    expected = LogisticRegression(max_iter=5000).fit(centred[PARTS.known], TARGETS[PARTS.known])
    found = linear_predictions(FEATURES, TARGETS, PARTS)
    assert (found == expected.predict(centred[PARTS.held_out])).all()
    moved = linear_predictions(100 * FEATURES + 7, TARGETS, PARTS)
    assert (found == moved).mean() > 0.98


def test_where_one_class_is_known_the_linear_probe_predicts_it():
    parts = Split(np.arange(60, 100), np.arange(0, 60))
    assert (linear_predictions(FEATURES, TARGETS, parts) == 1).all()


def test_scores_by_hand():
    truth, predictions = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 2])
    accuracy, f1 = scores(predictions, truth)
    assert accuracy == 0.5
    assert f1 == pytest.approx((2 * 1 * (2 / 3) / (1 + 2 / 3) + 0) / 2)  # class 2 is none of the true ones


# Who is held out


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


def test_thinning_out_leaves_rare_classes_whole():
    rows = thinned(TARGETS, 70, seed=0)
    assert Counter(TARGETS[rows].tolist()) == {0: 25, 1: 25, 2: 20}
    assert (np.diff(rows) > 0).all() and (rows == thinned(TARGETS, 70, seed=0)).all()
    assert (rows != thinned(TARGETS, 70, seed=1)).any()
    assert thinned(TARGETS, 500, seed=0).tolist() == list(range(120))


# How far features are spread


def test_equal_features_have_no_spread_whatever_their_lengths():
    features = np.outer(np.arange(1, 6), [3.0, -4.0, 0.0]).astype(np.float32)
    assert feature_std(features) == pytest.approx(0, abs=1e-6)


def test_features_in_all_directions_alike_have_a_spread_of_one():
    corners = np.concatenate([np.eye(4), -np.eye(4)]).astype(np.float32)
    assert feature_std(7 * corners) == pytest.approx(1)
    assert feature_std(RNG.normal(size=(5000, 32)).astype(np.float32)) == pytest.approx(1, abs=0.01)


def test_the_spread_by_hand():
    features = np.array([[3, 4], [5, 0]], np.float32)  # (0.6, 0.8) and (1, 0): deviations 0.2 and 0.4
    assert feature_std(features) == pytest.approx(0.3 * np.sqrt(2))


def test_features_of_zero_are_a_point_too():
    assert feature_std(np.zeros((3, 4), np.float32)) == 0
