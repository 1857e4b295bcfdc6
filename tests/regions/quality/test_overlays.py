from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from activessf.data.slide_files import open_slide
from activessf.regions.boxes import Found, Region, Rejected
from activessf.regions.filtering import RegionFilter
from activessf.regions.quality.drawing import KEPT, MASK, REJECTED
from activessf.regions.quality.overlays import busiest, display_factor, field_picture, overlay

PRESETS = Path(__file__).resolve().parents[3] / "conf/regions"
PAPER_FILTER = RegionFilter(
    **{key: value for key, value in yaml.safe_load((PRESETS / "paper.yaml").read_text()).items() if key[0] != "_"}
)
WHITE = np.full((120, 160, 3), 255, np.uint8)
GROUND = (225, 205, 210)
STAIN = (90, 40, 160)


class Plane:
    """A slide that is read in pieces and remembers the largest."""

    in_memory = False
    resolution = None

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.largest = pixels, 0
        self.height, self.width = pixels.shape[:2]

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        piece = self.pixels[y : y + height, x : x + width]
        assert piece.shape == (height, width, 3)
        self.largest = max(self.largest, width * height)
        return piece

    def reduced(self, longest: int) -> np.ndarray:
        size = longest, round(longest * self.height / self.width)
        return np.asarray(cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA))


def region(x: int, y: int, width: int, height: int) -> Region:
    return Region(x, y, width, height, 0.75, width * height * 3 // 4)


def pixels_of(colour: tuple[int, int, int], picture: np.ndarray) -> np.ndarray:
    return np.asarray((picture == colour).all(axis=2))


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels that are set, the last two not included."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@settings(max_examples=40, deadline=None)
@given(
    x=st.integers(0, 120),
    y=st.integers(0, 90),
    width=st.integers(6, 40),
    height=st.integers(6, 30),
    factor=st.sampled_from([1, 2, 3]),
    kept=st.booleans(),
)
def test_a_box_is_drawn_at_its_own_pixels(x: int, y: int, width: int, height: int, factor: int, kept: bool) -> None:
    box = region(x, y, width, height)
    found = Found([box], [], 0) if kept else Found([], [Rejected(box, "too small")], 0)
    blank = np.full((120 * factor, 160 * factor, 3), 255, np.uint8)
    drawn = pixels_of(KEPT if kept else REJECTED, overlay(blank, found, factor, labelled=False))
    left, top, right, bottom = (factor * value for value in (x, y, x + width, y + height))
    seen = extent(drawn)
    # A dash may be a gap where the box ends.
    assert seen[:2] == (left, top)
    assert (seen[2:] == (right, bottom)) or not kept
    assert right - 7 <= seen[2] <= right and bottom - 7 <= seen[3] <= bottom
    assert not drawn[top + 3 : bottom - 3, left + 3 : right - 3].any()


def test_a_kept_box_has_a_whole_line_and_a_rejected_one_a_broken_line() -> None:
    boxes = [region(10, 20, 60, 40), region(90, 20, 60, 40)]
    picture = overlay(WHITE, Found(boxes[:1], [Rejected(boxes[1], "too empty")], 0), 1, labelled=False)
    assert pixels_of(KEPT, picture)[20, 10:70].all()
    dashes = pixels_of(REJECTED, picture)[20, 90:150]
    assert 0.4 < dashes.mean() < 0.7 and np.count_nonzero(np.diff(dashes)) > 4


def test_a_reason_is_written_beside_its_box_and_never_over_another_reason() -> None:
    one = Rejected(region(40, 40, 30, 30), "too small")
    alone = overlay(WHITE, Found([], [one], 0), 1)
    bare = overlay(WHITE, Found([], [one._replace(reason="")], 0), 1)
    changed = (alone != bare).any(axis=2)
    left, top, right, bottom = extent(changed)
    assert left >= 38 and 20 <= top and bottom <= 42 and right < 120, "above the box, from its left edge on"
    # A second box there has its own reason below, and the first stays as it was.
    both = overlay(WHITE, Found([], [one, one._replace(reason="cut by a tile")], 0), 1)
    assert np.array_equal(both[:40], alone[:40]) and (both[71:90] != alone[71:90]).any()
    # Of many, only as many are written as there are free places.
    many = [Rejected(region(40 + index, 40, 30, 30), "too small") for index in range(20)]
    written = (overlay(WHITE, Found([], many, 0), 1) != overlay(WHITE, _unnamed(many), 1)).any(axis=2)
    assert np.count_nonzero(written) <= 4 * np.count_nonzero(changed)


def _unnamed(rejected: list[Rejected]) -> Found:
    return Found([], [item._replace(reason="") for item in rejected], 0)


def test_the_mask_is_that_of_the_filter_at_the_resolution_of_the_slide(tmp_path: Path) -> None:
    # A gap of 7 px is closed by 11 px, which 5 px at 0.5 um are at 0.25 um.
    region_filter = replace(PAPER_FILTER, normalisation="none", closing=5, resolution=0.5)
    pixels = np.full((200, 300, 3), GROUND, np.uint8)
    pixels[50:150, 100:140] = pixels[50:150, 147:187] = STAIN
    Image.fromarray(pixels).save(tmp_path / "fine.png", dpi=(25_400 / 0.25,) * 2)
    Image.fromarray(pixels).save(tmp_path / "unknown.png")
    outlined = {}
    for name in ("fine", "unknown"):
        with open_slide(tmp_path / f"{name}.png") as slide:
            picture = field_picture(slide, region_filter, Found([], [], 0))
        outlined[name] = bool(pixels_of(MASK, picture)[3 * 100, 3 * 135 : 3 * 152].any())
    assert outlined == {"fine": False, "unknown": True}


def test_the_mask_is_outlined_and_colours_inside_it_stay() -> None:
    image = np.full((100, 100, 3), 200, np.uint8)
    mask = np.zeros((100, 100), np.bool_)
    mask[30:70, 20:60] = True
    picture = overlay(image, Found([], [], 0), 1, mask)
    assert (picture[36:64, 26:54] == 200).all() and (picture[:26] == 200).all()
    assert pixels_of(MASK, picture)[30, 20:60].all() and pixels_of(MASK, picture)[30:70, 59].all()


@pytest.mark.parametrize(
    ("size", "factor"), [((640, 480), 2.0), ((300, 200), 3.0), ((1400, 100), 1.0), ((100, 2800), 0.5), ((2, 2), 3.0)]
)
def test_small_fields_are_enlarged_by_whole_numbers_and_large_ones_reduced(
    size: tuple[int, int], factor: float
) -> None:
    assert display_factor(*size, 1400) == factor


def test_a_plain_slide_shows_its_stained_cells_their_boxes_and_a_legend(tmp_path: Path) -> None:
    region_filter = replace(PAPER_FILTER, normalisation="none")
    pixels = np.full((200, 300, 3), GROUND, np.uint8)
    cv2.rectangle(pixels, (100, 60), (189, 139), STAIN, -1)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png") as slide:
        found = region_filter.find(pixels)
        picture = field_picture(slide, region_filter, found)
    assert [box[:4] for box in found.regions] == [(100, 60, 90, 80)]
    field, legend = picture[:600, :900], picture[600:]
    assert extent(pixels_of(KEPT, field)) == (300, 180, 570, 420)
    outline = np.array(extent(pixels_of(MASK, field)))
    assert np.abs(outline - (300, 180, 570, 420)).max() <= 3, "the cell's border, at three times its size"
    assert all(pixels_of(colour, legend).any() for colour in (KEPT, REJECTED, MASK))
    assert (field[300, 435] == STAIN).all()


def test_a_slide_too_large_for_memory_is_never_read_whole_and_shows_its_busiest_piece() -> None:
    rng = np.random.default_rng(0)
    # Dark, so that no pixel has the colour of a line.
    plane = Plane(rng.integers(0, 100, (3000, 5000, 3), np.uint8))
    crowd = [region(4000 + 50 * index, 2500, 40, 30) for index in range(8)]
    picture = field_picture(plane, PAPER_FILTER, Found([*crowd, region(10, 10, 40, 30)], [], 3))
    assert plane.largest == 900**2
    whole = picture[:540, :900]
    left, top, _, _ = extent(pixels_of(KEPT, whole))
    assert (left, top) == (1, 1), "the lone box at 10, 10, reduced to 900 of 5000 pixels"
    assert np.array_equal(whole[200:300, :600], plane.reduced(900)[200:300, :600])
    assert not pixels_of(MASK, picture).any()
    x, y, width, height = busiest(Found(crowd, [], 0), 5000, 3000, 900)
    piece = picture[:height, 908 : 908 + width]
    # Inside the boxes, whose lines cover 3 pixels, the piece is the slide's own pixels.
    for box in crowd:
        left, top = box.x - x, box.y - y
        inside = piece[top + 3 : top + 27, left + 3 : left + 37]
        assert np.array_equal(inside, plane.pixels[box.y + 3 : box.y + 27, box.x + 3 : box.x + 37])
        assert pixels_of(KEPT, piece)[top, left : left + 40].all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 3000), height=st.integers(1, 3000), count=st.integers(0, 40))
def test_the_busiest_piece_lies_in_the_slide_and_holds_boxes_if_there_are_any(
    seed: int, width: int, height: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    boxes = [region(int(rng.integers(width)), int(rng.integers(height)), 1, 1) for _ in range(count)]
    for found in (Found(boxes, [], 0), Found([], [Rejected(box, "too small") for box in boxes], 0)):
        x, y, w, h = busiest(found, width, height, 500)
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height
        assert (w, h) == (min(500, width), min(500, height))
        assert not boxes or any(x <= box.x < x + w and y <= box.y < y + h for box in boxes)
