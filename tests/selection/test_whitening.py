import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize

from activessf.errors import InputError
from activessf.selection import whitening as module
from activessf.selection.whitening import Transform, whitening

RNG = np.random.default_rng(0)
SAMPLE = (RNG.normal(size=(60, 6)) @ RNG.normal(size=(6, 6)) + 3).astype(np.float32)
OTHERS = (RNG.normal(size=(9, 6)) * 2).astype(np.float32)
EVERYTHING = np.arange(60)


@pytest.mark.parametrize("components", [6, 3])
def test_whitening_without_shrinkage_is_that_of_scikit_learn(components: int) -> None:
    expected = PCA(components, whiten=True, svd_solver="full").fit(SAMPLE)
    found = whitening(SAMPLE, components, 0.0)
    # Components have no sign, which distances don't see.
    np.testing.assert_allclose(np.abs(found(OTHERS)), np.abs(expected.transform(OTHERS)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(pdist(found(OTHERS)), pdist(expected.transform(OTHERS)), rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(shrinkage=st.floats(0, 10))
def test_a_components_variance_is_that_share_that_shrinkage_leaves(shrinkage: float) -> None:
    values = np.linalg.eigvalsh(np.cov(SAMPLE.T.astype(float)))[::-1]
    found = whitening(SAMPLE, None, shrinkage)(SAMPLE)
    np.testing.assert_allclose(
        found.var(axis=0, ddof=1), values / (values + shrinkage * values.mean()), rtol=1e-3, atol=1e-5
    )


def test_components_stop_where_features_do_not_vary() -> None:
    flat = np.concatenate([SAMPLE[:, :2], SAMPLE[:, :1] * 2, np.ones((60, 1), np.float32)], axis=1)
    assert whitening(flat, None, 0.0)(flat).shape == (60, 2)
    with pytest.raises(InputError, match="whitened_components=3 can't be had: the features vary in 2 directions"):
        whitening(flat, 3, 0.0)
    with pytest.raises(InputError, match="the features vary in 0 directions"):
        whitening(np.ones((4, 3), np.float32), None, 0.0)


def test_l2_is_that_of_scikit_learn_and_leaves_zeros() -> None:
    rows = np.concatenate([OTHERS, np.zeros((1, 6), np.float32)])
    found = Transform("l2", None, 0.0).fit(SAMPLE, OTHERS.__getitem__, EVERYTHING, 0)(rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, normalize(rows), rtol=1e-6)


def test_none_changes_nothing() -> None:
    assert Transform("none", None, 0.0).fit(SAMPLE, OTHERS.__getitem__, EVERYTHING, 0)(OTHERS) is OTHERS


def test_whitening_is_fitted_on_the_labeled_cells_and_the_folds_candidates_alone() -> None:
    candidates = np.array([4, 1, 7])
    found = Transform("pca_whitening", 2, 0.1).fit(SAMPLE, OTHERS.__getitem__, candidates, 0)(OTHERS)
    expected = whitening(np.concatenate([SAMPLE, OTHERS[candidates]]), 2, 0.1)(OTHERS)
    np.testing.assert_array_equal(found, expected)
    changed = OTHERS.copy()
    changed[0] = 1e6  # no candidate
    found_again = Transform("pca_whitening", 2, 0.1).fit(SAMPLE, changed.__getitem__, candidates, 0)(OTHERS)
    np.testing.assert_array_equal(found_again, expected)


def test_many_candidates_are_sampled_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE", 20)
    made = Transform("pca_whitening", 2, 0.1)
    first, again, other = (pdist(made.fit(OTHERS, SAMPLE.__getitem__, EVERYTHING, seed)(OTHERS)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (("whiten", None, 0.1), "transform=whiten is none of none, l2, pca_whitening"),
        (("pca_whitening", 0, 0.1), "whitened_components=0 must be null, 1 or more"),
        (("pca_whitening", None, -1), "whitening_shrinkage=-1 must be a number, 0 or more"),
    ],
)
def test_values_that_can_not_be_are_refused(values: tuple[str, int | None, float], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Transform(*values)
