"""Stage 1 in one slide: at once where it fits into memory, else tile by tile with the same result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from activessf.data.slide_files import Slide
from activessf.errors import InputError
from activessf.regions.boxes import Found, Region, Rejected
from activessf.regions.colours import ColourHistogram, Palette
from activessf.regions.filtering import RegionFilter
from activessf.regions.grid import planes_of
from activessf.regions.normalisation import Illumination


@dataclass(frozen=True)
class Tiling:
    """How large slides are read.

    Attributes:
        size: Width and height of a tile's core in pixels.
        overlap: How far a tile sees beyond its core, in pixels: the largest cell that is found.
    """

    size: int
    overlap: int

    def __post_init__(self) -> None:
        """Check the values, which come from a user's configuration."""
        for name in ("size", "overlap"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise InputError(f"tiling.{name} is {value!r}; it must be a whole number of pixels, at least 1.")


class _Window(NamedTuple):
    """A piece of a slide: the box that is read, and the core in it, whose regions are its own; slide pixels."""

    left: int
    top: int
    right: int
    bottom: int
    core: tuple[int, int, int, int]

    @property
    def core_inside(self) -> tuple[int, int, int, int]:
        """The core in the window's own pixels."""
        left, top, right, bottom = self.core
        return left - self.left, top - self.top, right - self.left, bottom - self.top


def find_in_slide(slide: Slide, region_filter: RegionFilter, tiling: Tiling) -> Found:
    """Candidate cells of a slide in pixels of its finest level, the filter's sizes scaled to its resolution.

    A large slide is read up to three times, and never whole: for the illumination, for the colours, and for the
    regions. So every pixel gets the colour that it would get if the whole plane were in memory. A region belongs to
    the tile whose core holds the left upper corner of its box. A tile sees the overlap on every side of its core, and
    what blur and closing need beyond it, so a region of its own that is no larger than the overlap lies wholly in what
    it sees, holes included. A region that a neighbour owns has its corner there, or is cut by the window's left or
    upper edge, which lies outside the core too. Either way each region no larger than the overlap is found once, with
    the box that the whole plane would give. A larger one is rejected as `cut by a tile`, and if it encloses others and
    holes are filled, those are found as they are.

    Raises:
        InputError: The slide can't be read to its end.
    """
    region_filter = region_filter.at(slide.resolution)
    if slide.in_memory:
        return region_filter.find(slide.read(0, 0, slide.width, slide.height))
    illumination = _illumination(slide, region_filter, tiling)
    palette = _palette(slide, region_filter, illumination, tiling)
    stained = region_filter.stained(palette)
    regions: list[Region] = []
    rejected: list[Rejected] = []
    specks = 0
    for window in _windows(slide, region_filter, tiling):
        smoothed = _smoothed(slide, region_filter, illumination, window)
        mask = region_filter.cleaned(palette.mask(planes_of(smoothed), stained))
        found = _placed(region_filter.without_margin(mask, window.core_inside), window, slide)
        regions += found.regions
        rejected += found.rejected
        specks += found.specks
    regions.sort(key=lambda region: (region.y, region.x, region.height, region.width))
    rejected.sort(key=lambda item: (item.region.y, item.region.x, item.region.height, item.region.width))
    return region_filter.with_margin(Found(regions, rejected, specks), slide.width, slide.height)


def _windows(slide: Slide, region_filter: RegionFilter, tiling: Tiling) -> Iterator[_Window]:
    # Blur and closing look this far beyond a pixel; what they make of the window's own edge must not reach the regions.
    overlap = max(tiling.overlap, region_filter.max_size or 0)
    reach = region_filter.blur_kernel // 2 + region_filter.closing + overlap
    yield from _pieces(slide, tiling.size, reach)


def _pieces(slide: Slide, size: int, reach: int) -> Iterator[_Window]:
    for top in range(0, slide.height, size):
        for left in range(0, slide.width, size):
            right, bottom = min(left + size, slide.width), min(top + size, slide.height)
            yield _Window(
                max(left - reach, 0),
                max(top - reach, 0),
                min(right + reach, slide.width),
                min(bottom + reach, slide.height),
                (left, top, right, bottom),
            )


def _illumination(slide: Slide, region_filter: RegionFilter, tiling: Tiling) -> Illumination:
    illumination = Illumination(region_filter.normalisation, region_filter.reference)
    if illumination.needs_pixels:
        for window in _pieces(slide, tiling.size, reach=0):
            illumination.add(_pixels(slide, window))
    return illumination


def _palette(slide: Slide, region_filter: RegionFilter, illumination: Illumination, tiling: Tiling) -> Palette:
    histogram = ColourHistogram()
    for window in _pieces(slide, tiling.size, reach=region_filter.blur_kernel // 2):
        left, top, right, bottom = window.core_inside
        histogram.add(_smoothed(slide, region_filter, illumination, window)[top:bottom, left:right])
    return histogram.palette(region_filter.num_colours, region_filter.merged_colours, region_filter.seed)


def _pixels(slide: Slide, window: _Window) -> NDArray[np.uint8]:
    return slide.read(window.left, window.top, window.right - window.left, window.bottom - window.top)


def _smoothed(
    slide: Slide, region_filter: RegionFilter, illumination: Illumination, window: _Window
) -> NDArray[np.uint8]:
    return region_filter.smoothed(illumination.normalise(_pixels(slide, window)))


def _placed(found: Found, window: _Window, slide: Slide) -> Found:
    """What was found in a window, in the slide's pixels; what its right or lower edge cuts is rejected."""
    regions: list[Region] = []
    rejected: list[Rejected] = []
    for region, reason in [*((region, None) for region in found.regions), *found.rejected]:
        moved = region._replace(x=region.x + window.left, y=region.y + window.top)
        beyond_right = moved.x + moved.width == window.right < slide.width
        if beyond_right or moved.y + moved.height == window.bottom < slide.height:
            reason = "cut by a tile"
        if reason is None:
            regions.append(moved)
        else:
            rejected.append(Rejected(moved, reason))
    return Found(regions, rejected, found.specks)
