import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from activessf.evaluation.calibration import expected_calibration_error


def naive_error(confidence: list[float], outcome: list[bool], num_bins: int) -> float:
    """Guo et al.'s equation 3, bin by bin."""
    error = 0.0
    for number in range(num_bins):
        lower, upper = number / num_bins, (number + 1) / num_bins
        members = [i for i, c in enumerate(confidence) if lower < c <= upper or (number == 0 and c == 0)]
        if members:
            frequency = sum(outcome[i] for i in members) / len(members)
            mean = sum(confidence[i] for i in members) / len(members)
            error += len(members) / len(confidence) * abs(frequency - mean)
    return error


def test_five_cells_in_two_bins_give_the_error_worked_out_by_hand() -> None:
    # Lower half .2 .4 .5 (with its end): mean 1.1 / 3, one of three true; upper half .8 .9: mean .85, one of two.
    confidence, outcome = np.array([0.2, 0.9, 0.5, 0.4, 0.8]), np.array([False, True, False, True, False])
    expected = 3 / 5 * (1.1 / 3 - 1 / 3) + 2 / 5 * (0.85 - 0.5)
    assert expected_calibration_error(confidence, outcome, 2) == pytest.approx(expected)


def test_certain_and_right_is_no_error_and_certain_and_wrong_the_largest() -> None:
    certain = np.array([1.0, 1.0, 0.0])
    assert expected_calibration_error(certain, np.array([True, True, False])) == 0
    assert expected_calibration_error(certain, np.array([False, False, True])) == 1


@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_the_error_is_that_of_the_naive_loop_and_at_most_one(cells: list[tuple[int, bool]], num_bins: int) -> None:
    # 1009 is prime: no confidence lies on the end of a bin, where rounding decides, but for an exact half.
    confidence, outcome = [(c + 0.5) / 1009 for c, _ in cells], [true for _, true in cells]
    error = expected_calibration_error(np.array(confidence), np.array(outcome), num_bins)
    assert error == pytest.approx(naive_error(confidence, outcome, num_bins), abs=1e-12) and 0 <= error <= 1


def test_the_error_is_that_of_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 500)
    labels = rng.integers(4, size=500)
    error = expected_calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)
    predictions, truth = torch.from_numpy(probabilities), torch.from_numpy(labels)
    assert error == pytest.approx(float(multiclass_calibration_error(predictions, truth, 4, n_bins=15)), abs=1e-6)
    one = expected_calibration_error(probabilities[:, 1], labels == 1, 10)
    # torchmetrics takes the confidence of the class, not of the decision, for two classes too.
    assert one == pytest.approx(float(binary_calibration_error(predictions[:, 1], truth == 1, n_bins=10)), abs=1e-6)
