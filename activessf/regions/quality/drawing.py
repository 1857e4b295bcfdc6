"""What the pictures of the quality control share: colours, lines, letters, the strip below them, the file.

Colours are Okabe and Ito's, told apart by colour-blind readers too; kept and rejected differ by their lines as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from activessf.errors import InputError
from activessf.manifests import replacing

KEPT = (0, 114, 178)  # blue
REJECTED = (213, 94, 0)  # vermillion
MASK = (240, 228, 66)  # yellow
INK = (29, 39, 51)
GAP = 8  # px, between pictures
MOST_ENLARGED = 3

_DASH = 7  # px
_LEAST_MARK = 5  # px; smaller boxes could not be seen in the view of a whole slide
_STRIP = 34  # px, height of the legend

UNREADABLE = (InputError, cv2.error, MemoryError)  # leaves a note in place of a picture

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]
Edges = tuple[int, int, int, int]


def resized(image: Picture, factor: float) -> Picture:
    """An image (H, W, 3) or (H, W), scaled; at least one pixel each way."""
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)


def edges(box: tuple[int, ...], factor: float) -> Edges:
    """First and last column and row of a box in a picture, as PIL draws it, large enough to be seen.

    Args:
        box: x, y, width, height in pixels of the slide.
        factor: Pixels of the picture that a pixel of the slide takes.

    Returns:
        Left, top, right, bottom in pixels of the picture.
    """
    x, y, width, height = box
    left, top = math.floor(x * factor), math.floor(y * factor)
    right, bottom = math.ceil((x + width) * factor) - 1, math.ceil((y + height) * factor) - 1
    return left, top, max(right, left + _LEAST_MARK - 1), max(bottom, top + _LEAST_MARK - 1)


def dashed(draw: ImageDraw.ImageDraw, box: Edges, width: int) -> None:
    """Draw the edges of a rejected box: a broken line, `width` pixels wide, inside it."""
    left, top, right, bottom = box
    for x in range(left, right + 1, 2 * _DASH):
        end = min(x + _DASH - 1, right)
        draw.rectangle((x, top, end, min(top + width - 1, bottom)), fill=REJECTED)
        draw.rectangle((x, max(bottom - width + 1, top), end, bottom), fill=REJECTED)
    for y in range(top, bottom + 1, 2 * _DASH):
        end = min(y + _DASH - 1, bottom)
        draw.rectangle((left, y, min(left + width - 1, right), end), fill=REJECTED)
        draw.rectangle((max(right - width + 1, left), y, right, end), fill=REJECTED)


def with_strip(
    picture: Picture, entries: Sequence[tuple[Colour, str, str]], factor: float, resolution: float | None
) -> Picture:
    """A picture with a legend and a scale bar below it.

    Args:
        picture: RGB, (H, W, 3).
        entries: Of the legend: colour, line (`solid`, `dashed`, `outline`, or empty: none) and label.
        factor: Pixels of the picture that a pixel of the slide takes.
        resolution: Micrometres per pixel of the slide; None: the bar is in pixels.

    Returns:
        RGB, (H + 34, W or more, 3).
    """
    letters = font(14)
    bar, text = _scale(factor, resolution)
    needed = sum(letters.getlength(entry[2]) + 50 for entry in entries) + bar + letters.getlength(text) + 40
    height, width = picture.shape[:2]
    image = Image.new("RGB", (max(width, math.ceil(needed)), height + _STRIP), "white")
    image.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(image)
    x, y = 8.0, height + 8
    for colour, line, label in entries:
        swatch = (int(x), y, int(x) + 24, y + 18)
        if line == "solid":
            draw.rectangle(swatch, outline=colour, width=3)
        elif line == "dashed":
            dashed(draw, swatch, width=2)
        elif line == "outline":
            draw.ellipse(swatch, outline=colour, width=3)
        x += 30 if line else 0
        draw.text((x, y), label, fill=INK, font=letters)
        x += letters.getlength(label) + 20
    right = image.width - 10
    draw.rectangle((right - bar, y + 11, right, y + 14), fill=INK)
    draw.text((right - bar - 8 - letters.getlength(text), y), text, fill=INK, font=letters)
    return np.asarray(image)


def _scale(factor: float, resolution: float | None) -> tuple[int, str]:
    """Length of a scale bar in pixels of the picture, at most 160, and what it stands for."""
    unit = factor if resolution is None else factor / resolution
    longest = 160 / unit
    power = 10.0 ** math.floor(math.log10(longest))
    value = max(step * power for step in (1, 2, 5) if step * power <= longest)
    return round(value * unit), f"{value:g} {'px' if resolution is None else 'µm'}"


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, `size` pixels high."""
    # Matplotlib's own copy is the one font that is the same on every machine.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def write_picture(picture: Picture, path: Path) -> None:
    """Write a picture as PNG, whole or not at all."""
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", compress_level=4)
