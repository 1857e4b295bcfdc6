from collections import Counter

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from activessf.training.held_out import Split
from activessf.training.watching.features import feature_std
from activessf.training.watching.probe import knn_predictions, linear_predictions, thinned

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
