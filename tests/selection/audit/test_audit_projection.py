import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from activessf.errors import InputError
from activessf.selection.audit.projection import CANDIDATE, LABELED, project


def test_clusters_far_apart_stay_apart_on_the_map() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 150)
    features = rng.normal(size=(150, 20)) + 30 * np.eye(3, 20)[group]
    places = project(features[:50], features[50:], seed=0, number=120)
    assert (places["part"] == LABELED).sum() == 36 and (places["part"] == CANDIDATE).sum() == 84
    rows = places["row"] + np.where(places["part"] == CANDIDATE, 50, 0)
    assert not places.duplicated(["part", "row"]).any()
    plane, members = places[["x", "y"]].to_numpy(), group[rows]
    assert KNeighborsClassifier(5).fit(plane, members).score(plane, members) == 1.0


def test_a_map_repeats_and_a_small_pool_leaves_its_room_to_labeled_cells() -> None:
    rng = np.random.default_rng(1)
    labeled, candidates = rng.normal(size=(40, 3)), rng.normal(size=(5, 3))
    first = project(labeled, candidates, seed=3, number=30)
    assert first.equals(project(labeled, candidates, seed=3, number=30))
    assert first["part"].value_counts().to_dict() == {LABELED: 25, CANDIDATE: 5}


@pytest.mark.parametrize("width", [1, 2, 4])
def test_few_dimensions_and_equal_features_have_a_map_too(width: int) -> None:
    rng = np.random.default_rng(2)
    assert np.isfinite(project(rng.normal(size=(9, width)), rng.normal(size=(9, width)), 0)[["x", "y"]]).all(axis=None)
    same = project(np.ones((9, width)), np.ones((9, width)), 0)
    assert len(same) == 18 and same[["x", "y"]].eq(0).all(axis=None)


def test_nothing_to_place_gives_no_map_and_a_tiny_sample_is_refused() -> None:
    assert project(np.zeros((2, 4)), np.ones((2, 4)), 0).empty and project(np.zeros((9, 0)), np.zeros((9, 0)), 0).empty
    with pytest.raises(InputError, match="3 points shows nothing"):
        project(np.zeros((9, 2)), np.zeros((9, 2)), 0, number=3)
