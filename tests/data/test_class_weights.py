import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from activessf.data.class_weights import check_one_of, class_counts, class_weights, drawing_weights
from activessf.errors import InputError

COUNTS = st.lists(st.integers(0, 10_000), min_size=1, max_size=12).filter(any)
SETTINGS = st.one_of(
    st.tuples(st.floats(0, 2), st.none()), st.tuples(st.none(), st.floats(0, 0.999999, exclude_max=False))
)


def test_counts_are_of_all_classes_those_without_a_cell_too() -> None:
    assert class_counts([2, 0, 2, 2], 5).tolist() == [1, 0, 3, 0, 0]
    assert class_counts([], 2).tolist() == [0, 0]


def test_inverse_frequency_is_the_balanced_weight_of_scikit_learn() -> None:
    targets = [0] * 7 + [1] * 2 + [2]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets)
    assert class_weights(class_counts(targets, 3), 1.0, None) == pytest.approx(expected)


def test_an_exponent_of_a_half_is_the_root_of_inverse_frequency_by_hand() -> None:
    # 1/2 and 1/4, whose mean over 4 + 16 cells is (4/2 + 16/4) / 20 = 0.3
    assert class_weights([4, 16], 0.5, None) == pytest.approx([0.5 / 0.3, 0.25 / 0.3])


def test_the_effective_number_is_that_of_a_hand_sum() -> None:
    # E_n = 1 + beta + ... + beta^(n-1): 1 of one cell, 1.75 of three with beta 1/2
    expected = np.array([1, 1 / 1.75])
    assert class_weights([1, 3], None, 0.5) == pytest.approx(expected * 4 / (1 + 3 / 1.75))


@given(COUNTS, SETTINGS)
def test_weights_are_finite_one_in_the_mean_never_smaller_for_smaller_classes_and_none_for_empty_ones(
    counts: list[int], settings: tuple[float | None, float | None]
) -> None:
    weights, n = class_weights(counts, *settings), np.array(counts)
    assert np.isfinite(weights).all() and ((weights > 0) == (n > 0)).all()
    assert (weights * n).sum() / n.sum() == pytest.approx(1)
    by_size = weights[n > 0][np.argsort(n[n > 0], kind="stable")]
    assert (np.diff(by_size) <= 1e-9 * by_size[:-1]).all()


@pytest.mark.parametrize(
    ("exponent", "beta", "expected"),
    [
        (0.0, None, [1 / 3, 1 / 3, 0, 1 / 3]),  # Kang's q = 0: all classes alike
        (1.0, None, [16 / 21, 4 / 21, 0, 1 / 21]),  # q = 1: as they are
        (0.5, None, [4 / 7, 2 / 7, 0, 1 / 7]),
        (None, 0.0, [16 / 21, 4 / 21, 0, 1 / 21]),  # an effective number of 1 for all
        (None, 1 - 1e-9, [1 / 3, 1 / 3, 0, 1 / 3]),  # that of n cells is n
        (None, 0.5, [16 / (2 - 2**-15) / 20.1, 4 / 1.875 / 20.1, 0, 1 / 20.1]),
    ],
)
def test_a_class_is_drawn_in_the_share_that_the_papers_say(
    exponent: float | None, beta: float | None, expected: list[float]
) -> None:
    targets = [0] * 16 + [1] * 4 + [3]
    drawn = drawing_weights(targets, 4, exponent, beta)
    assert drawn is not None and len(drawn) == 21
    shares = np.bincount(targets, drawn, minlength=4) / drawn.sum()
    if beta == 0.5:
        expected = list(np.array(expected) / np.sum(expected))
    assert shares == pytest.approx(expected, abs=1e-6)


def test_nothing_is_drawn_by_weight_where_neither_setting_is_given() -> None:
    assert drawing_weights([0, 1, 1], 2, None, None) is None


@pytest.mark.parametrize(
    ("exponent", "beta", "message"),
    [
        (0.5, 0.9, r"loss\.exponent=0\.5 and loss\.beta=0\.9 exclude each other"),
        (-1, None, r"loss\.exponent=-1 must be a number, 0 to 1"),
        (1.5, None, r"loss\.exponent=1\.5 must be a number, 0 to 1"),
        ("many", None, r"loss\.exponent=many must be a number"),
        (True, None, r"loss\.exponent=True must be a number"),
        (float("nan"), None, r"loss\.exponent=nan must be a number"),
        (None, 1.0, r"loss\.beta=1\.0 must be below 1"),
        (None, -0.1, r"loss\.beta=-0\.1 must be a number, 0 to 1"),
    ],
)
def test_settings_that_can_not_be_are_one_sentence(exponent: object, beta: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_one_of("loss", exponent, beta, 1.0)
