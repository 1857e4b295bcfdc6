"""Squares of one size round the middle of a cell."""

from __future__ import annotations


def square_round(x: int, y: int, side: int, width: float, height: float) -> tuple[int, int, int, int]:
    """The square round a point: left, top, width and height, in pixels.

    It is moved inwards where it would leave the image, and no larger than that.

    Args:
        x: Of the point, from the left.
        y: Of the point, from the top.
        side: Of the square.
        width: Of the image; infinite where it is not known.
        height: Of the image; likewise.
    """
    side = int(min(side, width, height))
    return int(min(max(x - side // 2, 0), width - side)), int(min(max(y - side // 2, 0), height - side)), side, side
