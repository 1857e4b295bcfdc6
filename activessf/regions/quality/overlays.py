"""A slide as the filter sees it: its stain mask, and the boxes that were kept and rejected."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from activessf.data.slide_files import Slide
from activessf.regions.boxes import Found, Region, Rejected
from activessf.regions.filtering import RegionFilter
from activessf.regions.quality.drawing import (
    GAP,
    INK,
    KEPT,
    MASK,
    MOST_ENLARGED,
    REJECTED,
    Colour,
    Picture,
    dashed,
    edges,
    font,
    resized,
    with_strip,
)

_LONGEST = 1400  # px, longer side of a drawn field
_PANEL = 900  # px, width and height of each of the two views of a whole slide


def field_picture(slide: Slide, region_filter: RegionFilter, found: Found) -> Picture:
    """A slide with its stain mask, its kept and its rejected boxes, and a legend; RGB, (H, W, 3).

    A slide too large for memory is shown whole, reduced, beside the piece of it, at full size, that has most regions;
    without its mask, since the colours that decide on it are those of the whole plane.

    Args:
        slide: An open slide.
        region_filter: By which its regions were found.
        found: What was found in it, in its pixels.

    Raises:
        InputError: The slide can't be read to its end.
    """
    if not slide.in_memory:
        return _two_views(slide, found)
    pixels = slide.read(0, 0, slide.width, slide.height)
    mask = region_filter.at(slide.resolution).steps(pixels).mask
    factor = display_factor(slide.width, slide.height, _LONGEST)
    picture = overlay(resized(pixels, factor), found, factor, resized(mask.astype(np.uint8) * 255, factor) > 127)
    return _with_legend(picture, found, factor, slide.resolution, masked=True)


def display_factor(width: int, height: int, longest: int) -> float:
    """By what an image is scaled to be looked at: up by a whole number, 3 at most, or down to `longest` pixels."""
    factor = longest / max(width, height)
    return float(min(math.floor(factor), MOST_ENLARGED)) if factor >= 1 else factor


def overlay(
    picture: Picture, found: Found, factor: float, mask: NDArray[np.bool_] | None = None, labelled: bool = True
) -> Picture:
    """Draw a mask and boxes on a picture.

    Kept boxes have a solid line, rejected ones a dashed line and the reason, where it finds room beside the others.
    Lines lie just inside the box.

    Args:
        picture: RGB, (H, W, 3), as it will be shown.
        found: Boxes, in pixels of the slide.
        factor: Pixels of the picture that a pixel of the slide takes.
        mask: Stained pixels of the picture, (H, W), outlined; None: not drawn.
        labelled: Whether reasons are written; without them lines are thin, for boxes of few pixels.

    Returns:
        RGB, (H, W, 3).
    """
    image = Image.fromarray(picture if mask is None else _outlined(picture, mask))
    draw = ImageDraw.Draw(image)
    for item in found.rejected:
        dashed(draw, edges(item.region[:4], factor), width=2 if labelled else 1)
    for region in found.regions:
        draw.rectangle(edges(region[:4], factor), outline=KEPT, width=3 if labelled else 1)
    if labelled:
        _write_reasons(draw, found.rejected, factor, image.size)
    return np.asarray(image)


def busiest(found: Found, width: int, height: int, side: int) -> tuple[int, int, int, int]:
    """The square of `side` pixels, or as much as the slide has, with most kept boxes, else with most rejected ones.

    Returns:
        x, y, width, height in pixels of the slide; in its middle where it has no boxes.
    """
    boxes = found.regions or [item.region for item in found.rejected]
    middles = [(box.x + box.width // 2, box.y + box.height // 2) for box in boxes] or [(width // 2, height // 2)]
    squares = Counter((x // side, y // side) for x, y in middles)
    column, row = min(squares, key=lambda square: (-squares[square], square))
    inside = [(x, y) for x, y in middles if (x // side, y // side) == (column, row)]
    x, y = (round(sum(values) / len(inside)) - side // 2 for values in zip(*inside, strict=True))
    return max(0, min(x, width - side)), max(0, min(y, height - side)), min(side, width), min(side, height)


def _two_views(slide: Slide, found: Found) -> Picture:
    factor = min(1.0, _PANEL / max(slide.width, slide.height))
    whole = overlay(slide.reduced(_PANEL), found, factor, labelled=False)
    window = busiest(found, slide.width, slide.height, _PANEL)
    seen = Image.fromarray(whole)
    ImageDraw.Draw(seen).rectangle(edges(window, factor), outline=INK, width=2)
    piece = overlay(slide.read(*window), _moved(found, -window[0], -window[1]), 1.0)
    views = Image.new("RGB", (whole.shape[1] + GAP + piece.shape[1], max(whole.shape[0], piece.shape[0])), "white")
    views.paste(seen, (0, 0))
    views.paste(Image.fromarray(piece), (whole.shape[1] + GAP, 0))
    return _with_legend(np.asarray(views), found, 1.0, slide.resolution, masked=False)


def _moved(found: Found, x: int, y: int) -> Found:
    def moved(region: Region) -> Region:
        return region._replace(x=region.x + x, y=region.y + y)

    rejected = [Rejected(moved(item.region), item.reason) for item in found.rejected]
    return Found([moved(region) for region in found.regions], rejected, found.specks)


def _outlined(picture: Picture, mask: NDArray[np.bool_]) -> Picture:
    # A tint would change the colours by which cells are told apart.
    drawing = picture.copy()
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawing, contours, -1, MASK, 2)
    return drawing


def _write_reasons(
    draw: ImageDraw.ImageDraw, rejected: Sequence[Rejected], factor: float, size: tuple[int, int]
) -> None:
    """Write the reason above, below or beside each box, the largest boxes first; where none is free, not at all."""
    taken = np.zeros(size[::-1], np.bool_)
    for item in sorted(rejected, key=lambda item: (-item.region.width * item.region.height, item.region)):
        left, top, right, bottom = edges(item.region[:4], factor)
        width, height = math.ceil(draw.textlength(item.reason, font=font(13))) + 2, 16
        for x, y in ((left, top - height), (left, bottom + 1), (right + 2, top), (left - width - 1, top)):
            inside = x >= 0 and y >= 0 and x + width <= size[0] and y + height <= size[1]
            if inside and not taken[y : y + height, x : x + width].any():
                taken[y : y + height, x : x + width] = True
                draw.text((x + 1, y), item.reason, fill=REJECTED, font=font(13), stroke_width=2, stroke_fill="white")
                break


def _with_legend(picture: Picture, found: Found, factor: float, resolution: float | None, masked: bool) -> Picture:
    entries: list[tuple[Colour, str, str]] = [
        (KEPT, "solid", f"kept: {len(found.regions):,}"),
        (REJECTED, "dashed", f"rejected: {len(found.rejected):,}"),
    ]
    entries.append((MASK, "outline", "stain mask") if masked else (INK, "", "stain mask not drawn in a whole slide"))
    if found.specks:
        entries.append((INK, "", f"specks, not drawn: {found.specks:,}"))
    return with_strip(picture, entries, factor, resolution)
