from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from activessf.errors import InputError
from activessf.regions.filtering import RegionFilter
from activessf.regions.tiles import Tiling, find_in_slide

PAPER = Path(__file__).resolve().parents[2] / "conf/regions/paper.yaml"
PAPER_FILTER = RegionFilter(
    **{key: value for key, value in yaml.safe_load(PAPER.read_text()).items() if not key.startswith("_")}
)
SMALL = replace(PAPER_FILTER, min_size=8, max_size=30, min_fill_rate=0.5)


class Plane:
    """A slide that is read in pieces and remembers the largest."""

    in_memory = False

    def __init__(self, pixels: np.ndarray, resolution: float | None = None) -> None:
        self.pixels, self.resolution, self.largest = pixels, resolution, 0
        self.height, self.width = pixels.shape[:2]

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        piece = self.pixels[y : y + height, x : x + width]
        assert piece.shape == (height, width, 3)
        self.largest = max(self.largest, width * height)
        return piece


def plane(seed: int, width: int, height: int, cells: int = 30) -> np.ndarray:
    """Purple discs and rings of 8 to 28 px anywhere, on a pale and uneven ground."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    image = np.array([225, 205, 210]) + rng.normal(0, 4, (height, width, 3)) + (columns / width * 12)[..., None]
    for _ in range(cells):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(4, 14)
        distance = np.hypot(rows - y, columns - x)
        cell = distance < radius if rng.random() < 0.7 else (distance < radius) & (distance > radius / 2)
        image[cell] = rng.normal([90, 40, 160], 5, (int(cell.sum()), 3))
    return np.clip(image, 0, 255).astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(17, 90),
    method=st.sampled_from(["minmax", "gray_world", "none"]),
    closing=st.sampled_from([0, 3, 5]),
    fill_holes=st.booleans(),
    margin=st.integers(0, 4),
)
def test_tiles_find_what_the_whole_plane_gives(
    seed: int, size: int, method: str, closing: int, fill_holes: bool, margin: int
) -> None:
    pixels = plane(seed, 190, 140)
    region_filter = replace(SMALL, normalisation=method, closing=closing, fill_holes=fill_holes, margin=margin)
    whole = region_filter.find(pixels)
    tiled = find_in_slide(Plane(pixels), region_filter, Tiling(size, 30))
    assert tiled.regions == whole.regions
    assert tiled.specks == whole.specks
    small = [item for item in whole.rejected if max(item.region.width, item.region.height) <= 30]
    assert [item for item in tiled.rejected if item in small] == small
    assert len([item for item in tiled.rejected if item.reason != "cut by a tile"]) <= len(whole.rejected)


def test_a_cell_on_every_tile_border_is_found_once() -> None:
    pixels = np.full((400, 600, 3), (225, 205, 210), np.uint8)
    corners = [(x, y) for y in (90, 190, 290) for x in (90, 190, 290, 390, 490)]
    for x, y in corners:
        pixels[y : y + 20, x : x + 20] = (90, 40, 160)
    slide = Plane(pixels)
    found = find_in_slide(slide, replace(SMALL, blur_kernel=1, normalisation="none"), Tiling(100, 30))
    assert [(region.x, region.y, region.width, region.height) for region in found.regions] == [
        (x, y, 20, 20) for x, y in corners
    ]
    assert slide.largest <= (100 + 2 * 31) ** 2


def test_a_region_larger_than_the_overlap_is_rejected_and_says_so() -> None:
    pixels = np.full((300, 300, 3), (225, 205, 210), np.uint8)
    pixels[80:220, 80:220] = (90, 40, 160)
    found = find_in_slide(Plane(pixels), replace(SMALL, max_size=None, normalisation="none"), Tiling(100, 40))
    assert found.regions == [] and [item.reason for item in found.rejected] == ["cut by a tile"]
    assert (
        find_in_slide(Plane(pixels), replace(SMALL, max_size=200, normalisation="none"), Tiling(100, 40)).regions != []
    )


def test_sizes_follow_the_resolution_of_the_slide() -> None:
    pixels = plane(3, 190, 140)
    own = replace(SMALL, resolution=0.5)
    found = find_in_slide(Plane(pixels, resolution=0.25), own, Tiling(64, 60))
    assert found == replace(SMALL, min_size=16, max_size=60).find(pixels)


@pytest.mark.parametrize("arguments", [(0, 5), (10, 0), (10, 2.5), (True, 4)])
def test_a_tiling_needs_whole_pixels(arguments: tuple) -> None:
    with pytest.raises(InputError, match="tiling"):
        Tiling(*arguments)
