"""From a mask to the boxes of its regions (paper II.B.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from activessf.regions.touching import split


class Region(NamedTuple):
    """A candidate cell.

    Attributes:
        x: Left edge of its bounding box in pixels, origin top left.
        y: Top edge in pixels.
        width: Width of the box in pixels.
        height: Height of the box in pixels.
        fill_rate: Share of the box that belongs to the region, in (0, 1].
        area: Pixels of the region.
    """

    x: int
    y: int
    width: int
    height: int
    fill_rate: float
    area: int


class Rejected(NamedTuple):
    """A region that is no candidate, and why: `too small`, `too large`, `too empty` or `cut by a tile`."""

    region: Region
    reason: str


class Found(NamedTuple):
    """What a mask holds.

    Attributes:
        regions: Candidate cells, from top to bottom, those of one row from left to right.
        rejected: The other regions, in the same order.
        specks: Number of regions smaller than half the least size both ways; they are not listed.
    """

    regions: list[Region]
    rejected: list[Rejected]
    specks: int


@dataclass(frozen=True)
class SizeRule:
    """What a region's box must be like.

    Attributes:
        min_size: Least width and least height of a box in pixels.
        max_size: Greatest width and greatest height of a box in pixels; None: no limit.
        min_fill_rate: Least share of the box that belongs to the region, in (0, 1].
    """

    min_size: int
    max_size: int | None
    min_fill_rate: float

    def verdict(self, region: Region) -> str | None:
        """Why a region is no candidate; None: it is one."""
        if min(region.width, region.height) < self.min_size:
            return "too small"
        if self.max_size is not None and max(region.width, region.height) > self.max_size:
            return "too large"
        return "too empty" if region.fill_rate < self.min_fill_rate else None

    def is_speck(self, width: int, height: int) -> bool:
        """Whether a box is smaller than half the least size both ways."""
        return 2 * max(width, height) < self.min_size


def find_boxes(
    mask: NDArray[np.uint8], rule: SizeRule, split_touching: bool, core: tuple[int, int, int, int] | None = None
) -> Found:
    """Connected regions (8 neighbours) of a mask, and which of them are large and full enough.

    Args:
        mask: 1 in regions, else 0; (H, W).
        rule: What a candidate's box must be like.
        split_touching: Whether a region that is too large or too empty may be several cells that touch: if two or
            more of the pieces that `touching.split` makes of it obey the rule, they take its place.
        core: Only regions count whose box has its left upper corner here (left, top, right, bottom); None: all.
    """
    if mask.size == 0:  # OpenCV 5 crashes on an empty image
        return Found([], [], 0)
    # Contours take a tenth of the time of labeling every pixel, and of a speck the box says enough.
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    regions: list[Region] = []
    rejected: list[Rejected] = []
    specks = 0
    for index, contour in enumerate(contours):
        if hierarchy[0, index, 3] != -1:
            continue  # the inner border of a region with a hole
        x, y, width, height = cv2.boundingRect(contour)
        if core is not None and not (core[0] <= x < core[2] and core[1] <= y < core[3]):
            continue
        if rule.is_speck(width, height):
            specks += 1
            continue
        component = _component(mask[y : y + height, x : x + width], contour[0, 0] - (x, y))
        region = _region(component, x, y)
        reason = rule.verdict(region)
        pieces = _pieces(component, region, rule) if split_touching and reason in ("too large", "too empty") else []
        if reason is None or len(pieces) > 1:
            regions += pieces or [region]
        else:
            rejected.append(Rejected(region, reason))
    return Found(sorted(regions, key=_reading_order), sorted(rejected, key=lambda r: _reading_order(r.region)), specks)


def widened(region: Region, margin: int, width: int, height: int) -> Region:
    """A region whose box has `margin` pixels more on every side, inside an image; its fill rate and area stay."""
    x, y = max(region.x - margin, 0), max(region.y - margin, 0)
    right = min(region.x + region.width + margin, width)
    bottom = min(region.y + region.height + margin, height)
    return region._replace(x=x, y=y, width=right - x, height=bottom - y)


def _component(mask: NDArray[np.uint8], point: NDArray[np.int32]) -> NDArray[np.bool_]:
    """The region that holds a point (x, y), without others that reach into its box."""
    _, labels = cv2.connectedComponents(mask, connectivity=8)
    return np.asarray(labels == labels[point[1], point[0]])


def _region(component: NDArray[np.bool_], x: int, y: int) -> Region:
    height, width = component.shape
    area = int(np.count_nonzero(component))
    return Region(x, y, width, height, area / (width * height), area)


def _pieces(component: NDArray[np.bool_], whole: Region, rule: SizeRule) -> list[Region]:
    """Pieces of a region that obey the rule."""
    labels = split(component, rule.min_size)
    return [piece for piece in _boxed(labels, whole) if rule.verdict(piece) is None]


def _boxed(labels: NDArray[np.int32], whole: Region) -> Iterator[Region]:
    for label in range(1, int(labels.max()) + 1):
        piece = labels == label
        rows, columns = np.flatnonzero(piece.any(axis=1)), np.flatnonzero(piece.any(axis=0))
        inside = piece[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        yield _region(inside, whole.x + int(columns[0]), whole.y + int(rows[0]))


def _reading_order(region: Region) -> tuple[int, int, int, int]:
    return region.y, region.x, region.height, region.width
