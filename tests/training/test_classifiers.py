import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from activessf.errors import InputError
from activessf.training.classifiers import Known, LinearProbe, NearestNeighbours
from activessf.training.held_out import split

RNG = np.random.default_rng(0)
TARGETS = np.array([0] * 60 + [1] * 40 + [3] * 20)  # class 2 is never known
FEATURES = (RNG.normal(size=(120, 10)) + 1.5 * np.eye(10)[TARGETS]).astype(np.float32)
QUERIES = RNG.normal(size=(30, 10)).astype(np.float32)
GROUPS = [f"slide {row // 4}" for row in range(120)]
KNOWN = Known(FEATURES, TARGETS, GROUPS, 5, seed=0)


@pytest.mark.parametrize(("neighbours", "temperature"), [(20, 0.07), (1, 0.07), (7, 1.0), (500, 0.5)])
def test_a_class_has_its_share_of_the_neighbours_votes(neighbours, temperature):
    found, chosen = NearestNeighbours(neighbours, temperature).classify(KNOWN, QUERIES)
    mean, deviation = FEATURES.astype(float).mean(axis=0), FEATURES.astype(float).std(axis=0)
    centred = [(rows - mean) / deviation for rows in (FEATURES, QUERIES)]
    directions, queries = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in centred)
    for row, query in enumerate(queries):
        similarity = [float(query @ direction) for direction in directions]
        nearest = sorted(range(120), key=lambda other: similarity[other], reverse=True)[:neighbours]
        votes = np.zeros(5)
        for other in nearest:
            votes[TARGETS[other]] += np.exp(similarity[other] / temperature)
        np.testing.assert_allclose(found[row], votes / votes.sum(), atol=1e-5)
    assert (found[:, [2, 4]] == 0).all() and chosen == {}


def test_neighbours_far_off_at_a_low_temperature_still_vote():
    known = Known(np.array([[1, 0], [0, 1]], np.float32), np.array([0, 1]), ["", ""], 2, 0)
    found, _ = NearestNeighbours(2, 1e-4).classify(known, np.array([[-1, -0.9]], np.float32))
    np.testing.assert_allclose(found, [[0, 1]], atol=1e-12)


def by_hand(strength: float, rows, queries) -> np.ndarray:
    known = FEATURES[rows].astype(float)
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    fitted = LogisticRegression(C=strength, max_iter=5000).fit((known - mean) / deviation, TARGETS[rows])
    found = np.zeros((len(queries), 5))
    found[:, fitted.classes_] = fitted.predict_proba((queries - mean) / deviation)
    return found


def test_the_linear_probe_takes_the_strength_that_does_best_on_what_is_held_out_and_is_fitted_to_all():
    strengths = [10.0, 1e-4, 0.1, 1e-2]
    found, chosen = LinearProbe(strengths, 0.25).classify(KNOWN, QUERIES)
    parts = split(TARGETS, GROUPS, 0.25, 0)
    truth = TARGETS[parts.held_out]
    score = {}
    for strength in strengths:
        said = by_hand(strength, parts.known, FEATURES[parts.held_out])
        score[strength] = np.mean([average_precision_score(truth == k, said[:, k]) for k in np.unique(truth)])
    best = max(sorted(strengths), key=score.__getitem__)
    assert chosen["strength"] == best and chosen["validation_pr_auc"] == pytest.approx(score[best], abs=1e-6)
    assert len(set(score.values())) > 1
    np.testing.assert_allclose(found, by_hand(best, np.arange(120), QUERIES), atol=1e-3)


def test_a_class_of_which_nothing_is_known_has_no_probability_and_rows_sum_to_one():
    found, _ = LinearProbe([1.0], 0.2).classify(KNOWN, QUERIES)
    assert (found[:, [2, 4]] == 0).all() and found.sum(axis=1) == pytest.approx(1)


def test_where_one_class_is_known_it_is_certain():
    known = Known(FEATURES[:60], TARGETS[:60] + 1, GROUPS[:60], 4, 0)
    for classifier in (LinearProbe([0.1, 1.0], 0.2), NearestNeighbours(5, 0.07)):
        found, _ = classifier.classify(known, QUERIES)
        assert (found == np.eye(4)[1]).all()


def test_where_too_few_cells_are_known_the_middle_strength_is_taken_and_said(caplog):
    known = Known(FEATURES[:100], TARGETS[:100], ["patient"] * 100, 2, 0)
    with caplog.at_level(logging.WARNING):
        found, chosen = LinearProbe([1.0, 1e-3, 0.1], 0.2).classify(known, QUERIES)
    assert "C = 0.1 without a choice" in caplog.text and chosen == {"strength": 0.1, "validation_pr_auc": None}
    assert found.sum(axis=1) == pytest.approx(1)


@given(st.integers(0, 1000), st.integers(1, 9), st.sampled_from([1e-3, 0.07, 3.0]))
@settings(max_examples=20, deadline=None)
def test_the_votes_are_probabilities_whatever_the_features(seed, neighbours, temperature):
    rng = np.random.default_rng(seed)
    known = Known(rng.normal(size=(8, 3)).astype(np.float32), rng.integers(0, 3, 8), [""] * 8, 3, 0)
    found, _ = NearestNeighbours(neighbours, temperature).classify(known, 100 * rng.normal(size=(5, 3)))
    assert (found >= 0).all() and found.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: NearestNeighbours(0, 0.07), "neighbours=0 must be a whole number, 1 or more"),
        (lambda: NearestNeighbours(2.5, 0.07), "neighbours=2.5 must be"),
        (lambda: NearestNeighbours(5, 0), "temperature=0 must be a number above 0"),
        (lambda: LinearProbe([], 0.2), r"strengths=\[\] must be numbers above 0, one or more"),
        (lambda: LinearProbe([1.0, 0], 0.2), r"strengths=\[1.0, 0\] must be"),
        (lambda: LinearProbe([1.0], 0.7), "validation_share=0.7 must lie above 0 and up to 0.5"),
    ],
)
def test_values_that_can_not_be_are_refused(make, match):
    with pytest.raises(InputError, match=match):
        make()
