"""From a mask to the boxes of its regions (paper II.B.2)."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray


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


def find_boxes(mask: NDArray[np.bool_], min_size: int, max_size: int | None, min_fill_rate: float) -> list[Region]:
    """Connected regions (8 neighbours) whose bounding box is large and full enough.

    Args:
        mask: (H, W).
        min_size: Least width and least height of a box in pixels.
        max_size: Greatest width and greatest height of a box in pixels; None: no limit.
        min_fill_rate: Least share of the box that belongs to the region, in (0, 1].

    Returns:
        The regions from top to bottom, those of one row from left to right.
    """
    if mask.size == 0:  # OpenCV 5 crashes on an empty image
        return []
    _, _, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    x, y, width, height, area = statistics[1:].T  # row 0 is the background
    fill_rate = area / (width.astype(np.int64) * height)
    kept = (np.minimum(width, height) >= min_size) & (fill_rate >= min_fill_rate)
    if max_size is not None:
        kept &= np.maximum(width, height) <= max_size
    columns = (x, y, width, height, fill_rate, area)
    regions = [Region(*row) for row in zip(*(column[kept].tolist() for column in columns), strict=True)]
    return sorted(regions, key=lambda region: (region.y, region.x))
