"""Squares of one size round the middle of a cell."""

from __future__ import annotations

import math


def square_round(x: float, y: float, side: int, width: float, height: float) -> tuple[int, int, int, int]:
    """The square round a point: left, top, width and height, in pixels.

    Its corner is the nearest whole pixel, of two the right and lower one. It is moved inwards where it would leave the
    image, and no larger than that.

    Args:
        x: Of the point, from the left.
        y: Of the point, from the top.
        side: Of the square.
        width: Of the image; infinite where it is not known.
        height: Of the image; likewise.
    """
    side = int(min(side, width, height))
    left, top = (
        int(min(max(math.floor(at - side / 2 + 0.5), 0), most - side)) for at, most in ((x, width), (y, height))
    )
    return left, top, side, side
