import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from activessf.regions.touching import split


def discs(*circles: tuple[float, float, float], shape: tuple[int, int] = (140, 260)) -> np.ndarray:
    """The union of discs (x, y, radius)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.any([np.hypot(rows - y, columns - x) <= radius for x, y, radius in circles], axis=0)


def boxes(labels: np.ndarray) -> list[tuple[int, int, int, int]]:
    """x, y, width, height of every piece."""
    return [
        (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        for rows, columns in ndimage.find_objects(labels)
    ]


@pytest.mark.parametrize(
    "circles",
    [
        [(50, 60, 30), (105, 60, 30)],
        [(50, 60, 35), (108, 60, 28)],
        [(50, 50, 30), (95, 88, 32)],
        [(50, 40, 30), (105, 40, 30), (78, 87, 30)],
        [(40, 60, 30), (96, 60, 30), (152, 60, 30), (208, 60, 30)],
    ],
)
def test_discs_that_touch_come_apart_at_their_necks(circles: list[tuple[float, float, float]]) -> None:
    component = discs(*circles)
    found = boxes(split(component, 40))
    assert len(found) == len(circles)
    for x, y, radius in circles:
        expected = np.array([x - radius, y - radius, 2 * radius + 1, 2 * radius + 1])
        nearest = min(found, key=lambda box: np.abs(np.array(box) - expected).max())
        assert np.abs(np.array(nearest) - expected).max() <= 5, (nearest, expected)


@pytest.mark.parametrize("angle", [0, 30, 45, 90])
@pytest.mark.parametrize("ratio", [1.0, 1.4, 2.0])
def test_a_single_round_or_oval_cell_stays_one(angle: float, ratio: float) -> None:
    rows, columns = np.mgrid[-70:70, -130:130]
    turn = np.deg2rad(angle)
    along = columns * np.cos(turn) + rows * np.sin(turn)
    across = -columns * np.sin(turn) + rows * np.cos(turn)
    component = (along / (30 * ratio)) ** 2 + (across / 30) ** 2 <= 1
    assert split(component, 40).max() == 1


@pytest.mark.parametrize(
    "circles",
    [
        [(60, 60, 30), (90, 60, 30)],
        [(60, 60, 25), (85, 60, 25), (72, 80, 25)],
        [(60, 60, 40), (100, 60, 14)],
    ],
)
def test_a_lobed_nucleus_stays_one(circles: list[tuple[float, float, float]]) -> None:
    assert split(discs(*circles), 70).max() == 1


def test_a_rough_outline_does_not_part_a_cell() -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-60:60, -60:60]
    angle = np.arctan2(rows, columns)
    radius = 40 + sum(rng.normal(0, 1.2) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(3, 12))
    assert split(np.hypot(rows, columns) <= radius, 40).max() == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2)])
def test_the_smallest_regions_stay(shape: tuple[int, int]) -> None:
    np.testing.assert_array_equal(split(np.ones(shape, np.bool_), 1), np.ones(shape, np.int32))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), number=st.integers(1, 6), min_size=st.integers(1, 60))
def test_pieces_are_connected_and_cover_the_region_without_loss(seed: int, number: int, min_size: int) -> None:
    rng = np.random.default_rng(seed)
    union = discs(
        *zip(rng.uniform(0, 120, number), rng.uniform(0, 90, number), rng.uniform(3, 35, number), strict=True),
        shape=(90, 120),
    )
    labels, _ = ndimage.label(union, np.ones((3, 3)))
    for (rows, columns), label in zip(ndimage.find_objects(labels), range(1, labels.max() + 1), strict=True):
        component = labels[rows, columns] == label
        pieces = split(component, min_size)
        np.testing.assert_array_equal(pieces > 0, component)
        assert sorted(np.unique(pieces[component])) == list(range(1, pieces.max() + 1))
        for piece in range(1, pieces.max() + 1):
            assert ndimage.label(pieces == piece, np.ones((3, 3)))[1] == 1
        np.testing.assert_array_equal(pieces, split(component, min_size))
