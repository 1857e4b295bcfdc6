"""Pictures of what a method sees and what it makes of it, always of the same images under the same masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from activessf.data.datasets import ImageFiles
from activessf.methods.method import SelfSupervisedMethod
from activessf.methods.reconstruction import Reconstructs
from activessf.regions.quality.drawing import GAP, INK, font
from activessf.training.watching.looking import Seen

COLUMNS = ("input", "masked", "reconstructed")
_SIDE = 128  # px; smaller images are enlarged by a whole number, up to this
_HEADER = 42  # px, height of the two lines above
_CAPTION = 18  # px, height of the line below each row

Pictures = NDArray[np.uint8]


class Reconstructions:
    """A look at reconstructions: a grid of some images.

    Methods that can't reconstruct are passed over.

    Args:
        images: What is trained on; those shown are spread evenly over them, as views of epoch 0.
        num_images: How many are shown, at least 1.
    """

    def __init__(self, images: ImageFiles, num_images: int) -> None:
        self._images = images
        self._num_images = min(num_images, len(images))

    def __call__(self, method: SelfSupervisedMethod, step: int) -> Seen:
        """See `Look`."""
        if not isinstance(method, Reconstructs):
            return Seen({}, {})
        shown = self._shown(method.batch_multiple)
        views = torch.stack([self._images[0, index][0] for index in shown])
        torch.manual_seed(self._images.seed)  # the same masks in every look; the caller restores the generator
        columns = (views, *method.reconstruct(views.to(next(method.parameters()))))
        names = [self._images.paths[index].name for index in shown]
        picture = grid([self._images.pixels(column) for column in columns], names, step)
        return Seen({}, {"reconstructions": picture})

    def _shown(self, multiple: int) -> list[int]:
        """Which images: as many as asked for, but whole groups if the method mixes so many; images may come again."""
        number = max(1, self._num_images // multiple) * multiple
        places: list[int] = np.linspace(0, len(self._images) - 1, number).round().astype(int).tolist()
        return places


def grid(columns: Sequence[Pictures], names: Sequence[str], step: int) -> NDArray[np.uint8]:
    """A row an image; columns input, masked, reconstructed; uint8 RGB, (H, W, 3).

    Row i, column j begin at pixel (42 + i (s + 26), 8 + j (s + 8)), where s is the side of an image as it is shown:
    enlarged by the largest whole number that leaves it at most 128, if there is one.

    Args:
        columns: Images, uint8 RGB, (N, side, side, 3).
        names: Of the rows, N.
        step: Optimiser steps done.
    """
    factor = max(1, _SIDE // columns[0].shape[1])
    side = factor * columns[0].shape[1]
    width = GAP + len(columns) * (side + GAP)
    sheet = Image.new("RGB", (width, _HEADER + len(names) * (side + _CAPTION + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 4), f"after {step:,} steps" if step else "untrained", fill=INK, font=font(12))
    for number, (column, title) in enumerate(zip(columns, COLUMNS, strict=True)):
        left = GAP + number * (side + GAP)
        draw.text((left, 23), title, fill=INK, font=font(12))
        for row, image in enumerate(column):
            enlarged = image.repeat(factor, axis=0).repeat(factor, axis=1)
            sheet.paste(Image.fromarray(enlarged), (left, _HEADER + row * (side + _CAPTION + GAP)))
    for row, name in enumerate(names):
        top = _HEADER + row * (side + _CAPTION + GAP) + side + 2
        draw.text((GAP, top), fitted(name, width - 2 * GAP), fill=INK, font=font(11))
    return np.asarray(sheet)


def fitted(text: str, width: int) -> str:
    """Text in small letters, shortened in the middle until it is no wider than so many pixels."""
    if font(11).getlength(text) <= width:
        return text
    left = len(text) // 2
    while left > 1 and font(11).getlength(f"{text[:left]}...{text[-left:]}") > width:
        left -= 1
    return f"{text[:left]}...{text[-left:]}"
