import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from activessf.regions.boxes import Region, find_boxes


def canvas(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = (200, 300)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for x, y, width, height in boxes:
        mask[y : y + height, x : x + width] = True
    return mask


def test_a_box_of_70_passes_and_69_does_not() -> None:
    mask = canvas((0, 0, 70, 70), (80, 0, 69, 90), (160, 0, 90, 69), (100, 100, 71, 70))
    assert find_boxes(mask, 70, None, 0.7) == [Region(0, 0, 70, 70, 1.0, 4900), Region(100, 100, 71, 70, 1.0, 4970)]


def test_a_fill_rate_of_exactly_seven_tenths_passes() -> None:
    mask = canvas((5, 6, 70, 70))
    mask[20:41, 5:75] = False
    mask[20:41, 5] = True  # holds the two parts together
    mask[50, 20:41] = False  # 4900 - 21 * 69 - 21 = 3430 = 0.7 * 4900
    assert find_boxes(mask, 70, None, 0.7) == [Region(5, 6, 70, 70, 0.7, 3430)]
    mask[60, 30] = False
    assert find_boxes(mask, 70, None, 0.7) == []


def test_a_region_larger_than_the_maximum_is_left_out() -> None:
    mask = canvas((0, 0, 80, 80), (100, 0, 81, 80))
    assert [region.x for region in find_boxes(mask, 70, 80, 0.7)] == [0]


def test_regions_that_touch_at_a_corner_are_one() -> None:
    assert [region[:4] for region in find_boxes(canvas((0, 0, 10, 10), (10, 10, 10, 10)), 1, None, 0.1)] == [
        (0, 0, 20, 20)
    ]


def test_boxes_run_from_top_to_bottom_and_left_to_right() -> None:
    mask = canvas((200, 3, 5, 5), (10, 3, 5, 5), (40, 0, 5, 90))
    assert [(region.y, region.x) for region in find_boxes(mask, 1, None, 0.1)] == [(0, 40), (3, 10), (3, 200)]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (4, 4)])
def test_an_empty_mask_has_no_boxes(shape: tuple[int, int]) -> None:
    assert find_boxes(np.zeros(shape, dtype=bool), 1, None, 0.1) == []


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), density=st.floats(0, 1), min_size=st.integers(1, 5), fill=st.floats(0.05, 1))
def test_boxes_equal_those_of_scipys_labels(seed: int, density: float, min_size: int, fill: float) -> None:
    mask = np.random.default_rng(seed).random((17, 23)) < density
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    expected = set()
    for index, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        width, height = columns.stop - columns.start, rows.stop - rows.start
        area = int((labels == index).sum())
        if min(width, height) >= min_size and area / (width * height) >= fill:
            expected.add((columns.start, rows.start, width, height, area / (width * height), area))
    found = find_boxes(mask, min_size, None, fill)
    assert set(found) == expected and len(found) == len(expected)
    for region in found:
        assert 0 <= region.x and region.x + region.width <= 23 and 0 <= region.y and region.y + region.height <= 17
        assert 0 < region.fill_rate <= 1


@settings(max_examples=20, deadline=None)
@given(x=st.integers(0, 40), y=st.integers(0, 30), seed=st.integers(0, 1000))
def test_moving_a_blob_moves_its_box(x: int, y: int, seed: int) -> None:
    blob = np.random.default_rng(seed).random((12, 12)) < 0.7
    blob[0] = blob[:, 0] = blob[-1] = blob[:, -1] = True
    mask = np.zeros((60, 60), dtype=bool)
    mask[y : y + 12, x : x + 12] = blob
    region = max(find_boxes(mask, 1, None, 0.01), key=lambda region: region.width)
    assert region[:4] == (x, y, 12, 12)
