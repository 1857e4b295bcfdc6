import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from activessf.regions.points import Points


def cloud(seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (3, number)), rng.integers(1, 50, number).astype(np.float64)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), number=st.integers(1, 200), count=st.integers(1, 256))
def test_each_point_gets_a_nearest_centre(seed: int, number: int, count: int) -> None:
    colours, weights = cloud(seed, number)
    centres = np.random.default_rng(seed + 1).uniform(0, 255, (count, 3))
    squared = ((colours.T[:, None] - centres) ** 2).sum(axis=2)
    own = squared[np.arange(number), Points(colours, weights).nearest(centres)]
    # float32 and the index in the lowest bits leave this much room between centres that are equally near.
    assert (own <= squared.min(axis=1) * (1 + 2**-14) + 0.1).all()


def test_lloyd_ends_where_scikit_learn_does() -> None:
    colours, weights = cloud(3, 400)
    start = colours.T[:6].copy()
    theirs = KMeans(6, init=start, n_init=1, max_iter=1000, tol=0).fit(colours.T, sample_weight=weights)
    points = Points(colours, weights)
    ours = points.lloyd(theirs.cluster_centers_, 3)
    np.testing.assert_allclose(ours, theirs.cluster_centers_, atol=1e-3)
    np.testing.assert_array_equal(points.nearest(ours), theirs.labels_)


def test_a_centre_without_points_stays() -> None:
    points = Points(np.array([[10.0, 20], [10, 20], [10, 20]]), np.array([1.0, 3]))
    far = np.array([[15.0, 15, 15], [250, 250, 250]])
    np.testing.assert_array_equal(points.lloyd(far, 2)[1], far[1])
    centres, sizes, labels = points.clusters(points.nearest(far[::-1]), 2)
    np.testing.assert_allclose(centres, [[17.5] * 3])
    assert sizes.tolist() == [4] and labels.tolist() == [0, 0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), number=st.integers(1, 3000), count=st.integers(1, 400))
@example(seed=79, number=388, count=80)
def test_thinned_points_are_some_of_the_points_and_stand_for_all(seed: int, number: int, count: int) -> None:
    colours, weights = cloud(seed, number)
    few = Points(colours, weights).thinned(count)
    assert 0 < len(few) <= max(count, 1)
    away = np.abs(few.colours[:, None] - colours.T).max(axis=2).min(axis=1)
    assert away.max() < 1e-4  # coordinates are kept in 32 bits
    if count >= 50 and number >= 1000:
        assert 0.8 < few.weights.sum() / weights.sum() < 1.2
