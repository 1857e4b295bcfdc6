from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from activessf.evaluation import bootstrap
from activessf.evaluation.bootstrap import (
    resampled_average_precision,
    resampling_units,
    weighted_average_precision,
)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 6))
def test_each_weighting_gives_what_sklearn_gives_of_it(seed: int, cells: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.round(rng.random(cells), decimals)  # few decimals tie
    positive = rng.random(cells) < 0.3
    weights = rng.poisson(1, (5, cells)).astype(np.int32)
    found = weighted_average_precision(positive, scores, weights)
    for row, value in zip(weights, found, strict=True):
        if row[positive].sum() == 0:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(average_precision_score(positive, scores, sample_weight=row))


def test_a_weighting_is_the_same_as_repeated_rows() -> None:
    rng = np.random.default_rng(1)
    scores, positive = np.round(rng.random(50), 2), rng.random(50) < 0.4
    counts = rng.poisson(1, 50).astype(np.int32)
    repeated = np.repeat(np.arange(50), counts)
    assert weighted_average_precision(positive, scores, counts[None])[0] == pytest.approx(
        average_precision_score(positive[repeated], scores[repeated])
    )


def cells(num_units: int, per_unit: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(["a", "b", "c"], num_units * per_unit, p=[0.6, 0.3, 0.1])
    scores = rng.dirichlet(np.ones(3), num_units * per_unit)
    units = np.repeat([f"patient {i}" for i in range(num_units)], per_unit)
    return labels, scores, units


def test_whole_units_are_drawn() -> None:
    # Two units: one in which class a is found with AP 1, one in which the wrong cell is first. A resample is one of
    # them twice or both once, so that only three values of AP can come out.
    labels = np.array(["a", "b", "a", "b"])
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    samples = resampled_average_precision(labels, scores, ["a", "b"], np.array(["1", "1", "2", "2"]), 400, 0)[:, 0]
    counts = Counter(np.round(samples, 6))
    # Both: .9 hit, .6 miss, .3 hit.
    assert set(counts) == {1.0, 0.5, round((1 + 2 / 3) / 2, 6)}
    assert 150 < counts[round((1 + 2 / 3) / 2, 6)] < 250  # half of the draws


def test_draws_depend_on_units_and_seed_and_not_on_the_order_of_rows() -> None:
    labels, scores, units = cells(12, 4)
    shuffled = np.random.default_rng(5).permutation(len(labels))
    first = resampled_average_precision(labels, scores, ["a", "b", "c"], units, 30, 7)
    again = resampled_average_precision(labels[shuffled], scores[shuffled], ["a", "b", "c"], units[shuffled], 30, 7)
    other = resampled_average_precision(labels, scores, ["a", "b", "c"], units, 30, 8)
    np.testing.assert_allclose(first, again)
    assert not np.allclose(first, other)


def test_a_class_that_a_resample_lacks_has_no_value_in_it() -> None:
    labels = np.array(["a"] * 9 + ["b"])
    scores = np.column_stack([np.linspace(0.1, 0.9, 10), np.linspace(0.9, 0.1, 10)])
    samples = resampled_average_precision(labels, scores, ["a", "b"], np.array(list("0123456789")), 2000, 0)
    # The one unit of b is missed with probability .9 ** 10 = .349.
    assert np.isnan(samples[:, 1]).mean() == pytest.approx(0.9**10, abs=0.04) and not np.isnan(samples[:, 0]).any()


def test_parts_that_are_worked_on_one_after_the_other_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores, units = cells(10, 3)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 7 * 30)
    samples = resampled_average_precision(labels, scores, ["a", "b", "c"], units, 40, 0)
    assert samples.shape == (40, 3) and len(np.unique(samples[:, 0])) > 30


def test_the_unit_is_the_group_and_without_one_the_image() -> None:
    frame = pd.DataFrame({"group": ["p", "", "p", ""], "image": ["1.png", "p", "2.png", "p"]})
    units = resampling_units(frame)
    assert units[0] == units[2] and units[1] == units[3] and units[0] != units[1]
