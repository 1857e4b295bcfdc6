import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from activessf.regions import boxes
from activessf.regions.boxes import Region, SizeRule, widened


def find_boxes(mask: np.ndarray, min_size: int, max_size: int | None, fill: float) -> list[Region]:
    return boxes.find_boxes(mask.astype(np.uint8), SizeRule(min_size, max_size, fill), split_touching=False).regions


def canvas(*rectangles: tuple[int, int, int, int], shape: tuple[int, int] = (200, 300)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for x, y, width, height in rectangles:
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


def test_what_is_rejected_is_listed_with_its_reason_and_specks_are_counted() -> None:
    mask = canvas((0, 0, 20, 20), (30, 0, 9, 20), (50, 0, 31, 20), (100, 0, 4, 4), (110, 0, 5, 4), (120, 0, 20, 1))
    mask[100:120, 0] = mask[119, 0:20] = True
    found = boxes.find_boxes(mask.astype(np.uint8), SizeRule(10, 30, 0.5), split_touching=False)
    assert [region[:2] for region in found.regions] == [(0, 0)]
    assert [(rejected.region.x, rejected.region.y, rejected.reason) for rejected in found.rejected] == [
        (30, 0, "too small"),
        (50, 0, "too large"),
        (110, 0, "too small"),
        (120, 0, "too small"),
        (0, 100, "too empty"),
    ]
    assert found.specks == 1


def test_a_region_inside_the_hole_of_another_is_found_by_itself() -> None:
    mask = canvas((0, 0, 50, 50))
    mask[5:45, 5:45] = False
    mask[15:35, 15:35] = True
    found = boxes.find_boxes(mask.astype(np.uint8), SizeRule(10, None, 0.5), split_touching=False)
    assert found.regions == [Region(15, 15, 20, 20, 1.0, 400)]
    (ring,) = found.rejected
    assert ring.region == Region(0, 0, 50, 50, 0.36, 900) and ring.reason == "too empty"


def test_touching_discs_are_found_one_by_one_only_where_asked() -> None:
    rows, columns = np.mgrid[:100, :160]
    mask = (np.hypot(rows - 50, columns - 45) <= 30) | (np.hypot(rows - 50, columns - 103) <= 30)
    rule = SizeRule(40, 80, 0.7)
    assert boxes.find_boxes(mask.astype(np.uint8), rule, split_touching=False).regions == []
    found = boxes.find_boxes(mask.astype(np.uint8), rule, split_touching=True)
    assert found.rejected == [] and len(found.regions) == 2
    np.testing.assert_allclose([region[:4] for region in found.regions], [(15, 20, 60, 61), (74, 20, 60, 61)], atol=2)
    assert sum(region.area for region in found.regions) == mask.sum()


def test_a_margin_widens_a_box_as_far_as_the_image_reaches() -> None:
    assert widened(Region(10, 2, 20, 30, 0.8, 480), 5, 100, 36) == Region(5, 0, 30, 36, 0.8, 480)
