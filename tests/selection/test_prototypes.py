import numpy as np
import pytest
from scipy.spatial.distance import cdist

from activessf.errors import InputError
from activessf.selection import rows
from activessf.selection.prototypes import (
    Prototypes,
    distances,
    kmeans_prototypes,
    leave_one_out_distances,
    per_class_prototypes,
)
from activessf.selection.rows import canonical_order


def test_prototypes_are_the_means_of_their_members():
    features = np.random.default_rng(1).normal(size=(50, 4))
    found = kmeans_prototypes(features, 6, seed=0)
    for number, centre in enumerate(found.centres):
        assert centre == pytest.approx(features[found.members == number].mean(axis=0))
    assert found.sizes.sum() == 50 and found.sizes.min() >= 1
    assert (distances(features, found.centres).argmin(axis=1) == found.members).all()  # Eq. 5


def test_per_class_prototypes_hold_one_class_each():
    rng = np.random.default_rng(2)
    labels = np.array(["a"] * 20 + ["b"] * 2)
    found = per_class_prototypes(rng.normal(size=(22, 3)), labels, ["a", "b", "c"], per_class=4, seed=0)
    assert len(found.centres) == 4 + 2  # a class with two cells can have two prototypes at most, c has none
    for number in range(6):
        assert len(set(labels[found.members == number])) == 1


def test_no_prototype_a_class_is_refused():
    with pytest.raises(InputError, match="prototypes_per_class=0 must be 1 or more"):
        per_class_prototypes(np.zeros((2, 1)), np.array(["a", "b"]), ["a", "b"], 0, 0)


def test_equal_cells_give_fewer_prototypes_and_a_warning():
    with pytest.warns(UserWarning, match="only 2 distinct features"):
        found = kmeans_prototypes(np.array([[0.0], [0.0], [5.0], [5.0]]), 3, seed=0)
    assert len(found.centres) == 2 and found.sizes.tolist() == [2, 2]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_distances_are_the_same_in_chunks_as_at_once(dtype, monkeypatch):
    features = np.random.default_rng(3).normal(size=(101, 7)).astype(dtype)
    centres = np.random.default_rng(4).normal(size=(5, 7))
    naive = [[np.sqrt(((row.astype(float) - centre) ** 2).sum()) for centre in centres] for row in features]
    monkeypatch.setattr(rows, "_VALUES", 70)  # ten rows
    assert distances(features, centres) == pytest.approx(np.array(naive))
    assert distances(features[:0], centres).shape == (0, 5)


def test_leaving_one_out_is_taking_the_mean_without_it():
    features = np.random.default_rng(5).normal(size=(30, 3))
    members = np.repeat([0, 1, 2, 3], [15, 12, 2, 1])
    centres = np.array([features[members == k].mean(axis=0) for k in range(4)])
    expected = []
    for out in range(30):
        rest = np.arange(30) != out
        others = [features[rest & (members == k)].mean(axis=0) for k in range(4) if (rest & (members == k)).any()]
        expected.append(cdist(features[[out]], np.array(others)).min())
    assert leave_one_out_distances(features, Prototypes(centres, members)) == pytest.approx(np.array(expected))


def test_the_only_cell_of_all_is_infinitely_far_from_the_others():
    found = leave_one_out_distances(np.array([[3.0]]), Prototypes(np.array([[3.0]]), np.array([0])))
    assert found.tolist() == [np.inf]


def test_the_canonical_order_follows_the_rows_wherever_they_stand(monkeypatch):
    features = np.random.default_rng(6).normal(size=(40, 3)).astype(np.float32)
    ordered = features[canonical_order(features)]
    mixed = features[np.random.default_rng(7).permutation(40)]
    monkeypatch.setattr(rows, "_VALUES", 20)
    assert (mixed[canonical_order(mixed)] == ordered).all()
    assert sorted(canonical_order(features)) == list(range(40))
    equal = np.zeros((5, 2))
    assert canonical_order(equal).tolist() == [0, 1, 2, 3, 4]
