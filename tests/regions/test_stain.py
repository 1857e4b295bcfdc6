import colorsys

import numpy as np
import pytest

from activessf.errors import InputError
from activessf.regions.stain import check_stain_ranges, closed, filled, stained

PURPLE = {"name": "purple", "hue": [30, 140], "saturation": [100, 255], "value": [0, 255]}
BLUE = {"name": "deep_blue", "hue": [95, 105], "saturation": [150, 255], "value": [50, 255]}
RED = {"name": "red", "hue": [170, 10], "saturation": [50, 255], "value": [20, 240]}
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)


def distance_into(image: np.ndarray, stain: dict) -> np.ndarray:
    """By colorsys, pixel by pixel: > 0 inside the range, < 0 outside, |.| <= 1 where rounding decides."""
    result = np.empty(image.shape[:2])
    for place in np.ndindex(*image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[place] / 255))
        hue, saturation, value = hue * 180, saturation * 255, value * 255
        first, last = stain["hue"]
        middle, half = ((first + last) / 2, (last - first) / 2) if first <= last else (0, (last + 180 - first) / 2)
        around = abs((hue - middle + 90) % 180 - 90)
        margins = [half - around]
        for channel, key in ((saturation, "saturation"), (value, "value")):
            margins += [channel - stain[key][0], stain[key][1] - channel]
        result[place] = min(margins)
    return result


@pytest.mark.parametrize("stain", [PURPLE, BLUE, RED], ids=lambda stain: stain["name"])
def test_mask_equals_a_colorsys_loop(stain: dict) -> None:
    inside, mask = distance_into(IMAGE, stain), stained(IMAGE, [stain])
    clear = np.abs(inside) > 1
    assert clear.mean() > 0.9 and mask.any()
    np.testing.assert_array_equal(mask[clear], inside[clear] > 0)


def test_ranges_are_joined_by_or_and_deep_blue_adds_nothing_to_purple() -> None:
    np.testing.assert_array_equal(stained(IMAGE, [PURPLE, RED]), stained(IMAGE, [PURPLE]) | stained(IMAGE, [RED]))
    np.testing.assert_array_equal(stained(IMAGE, [PURPLE, BLUE]), stained(IMAGE, [PURPLE]))


def test_both_ends_of_a_range_belong_to_it() -> None:
    blue = np.array([[[0, 0, 255]]], dtype=np.uint8)  # hue 120, saturation 255, value 255
    for hue, expected in [([120, 130], True), ([110, 120], True), ([121, 130], False), ([110, 119], False)]:
        assert stained(blue, [{**PURPLE, "hue": hue}])[0, 0] == expected


def test_holes_are_filled_but_not_what_reaches_the_border() -> None:
    mask = np.zeros((7, 9), dtype=np.uint8)
    mask[1:6, 1:6] = 1
    mask[3, 3] = 0
    mask[0:3, 7:9] = 1
    mask[0, 8] = 0  # touches the border: no hole
    expected = mask.copy()
    expected[3, 3] = 1
    np.testing.assert_array_equal(filled(mask), expected)


def test_a_ring_joined_at_its_corners_encloses_its_hole() -> None:
    diamond = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=np.uint8)
    assert filled(diamond).tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]


def test_filling_keeps_full_and_empty_masks() -> None:
    for mask in (np.zeros((4, 5), np.uint8), np.ones((4, 5), np.uint8), np.ones((1, 1), np.uint8)):
        np.testing.assert_array_equal(filled(mask), mask)


def test_closing_bridges_gaps_narrower_than_the_kernel_and_keeps_the_mask() -> None:
    mask = np.zeros((21, 30), dtype=np.uint8)
    mask[5:15, 2:10] = mask[5:15, 12:20] = 1
    result = closed(mask, 5)
    assert result[10, 10] and result[10, 11] and (result >= mask).all()
    assert closed(mask, 0) is mask
    np.testing.assert_array_equal(closed(np.ones((8, 8), np.uint8), 5), np.ones((8, 8), np.uint8))


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([], "is empty"),
        ([{"name": "a", "hue": [0, 10]}], "exactly name, hue, saturation and value"),
        ([{**PURPLE, "hue": [0, 180]}], r"whole numbers in 0\.\.179"),
        ([{**PURPLE, "saturation": [0, 256]}], r"whole numbers in 0\.\.255"),
        ([{**PURPLE, "value": [-1, 5]}], r"value of the stain range purple is \[-1, 5\]"),
        ([{**PURPLE, "value": [5]}], "lowest, highest"),
        ([{**PURPLE, "value": [0.5, 5]}], "whole numbers"),
        ([{**PURPLE, "saturation": [200, 100]}], "lower end comes first"),
    ],
)
def test_impossible_ranges_are_refused(ranges: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_stain_ranges(ranges)
