"""Views of an image: random ones for training, one fixed for evaluation. All randomness is handed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from activessf.errors import InputError

_TRIES = 10
_INTERPOLATIONS = ("bicubic", "bilinear")


@dataclass(frozen=True)
class RandomView:
    """A random resized crop, flips and quarter turns (a stained cell has no up or left).

    Crops are distributed as torchvision's: if ten draws don't fit into the image, the crop is the largest one round its
    centre that keeps to the aspect ratios.

    Attributes:
        size: Side of the square view, pixels.
        scale: Smallest and largest share of the image's area that a crop covers, in (0, 1].
        ratio: Smallest and largest aspect ratio (width / height) of a crop.
        horizontal_flip: Probability of mirroring left and right.
        vertical_flip: Probability of mirroring top and bottom.
        quarter_turns: Turn by 0, 90, 180 or 270 degrees, all equally likely.
        brightness: Brightness is scaled by a factor in 1 +- brightness.
        contrast: Contrast about the mean is scaled by a factor in 1 +- contrast.
        interpolation: How a crop is resized, "bicubic" or "bilinear".
    """

    size: int
    scale: Sequence[float]
    ratio: Sequence[float] = (3 / 4, 4 / 3)
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    quarter_turns: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        """Check the values, which come from a user's configuration."""
        if self.size < 1:
            raise InputError(f"A view of size={self.size} pixels can't be made.")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(
                f"view.scale={list(self.scale)} must be two shares of the area, 0 < lowest <= highest <= 1."
            )
        if len(self.ratio) != 2 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise InputError(f"view.ratio={list(self.ratio)} must be two aspect ratios, 0 < lowest <= highest.")
        if self.interpolation not in _INTERPOLATIONS:
            raise InputError(f"view.interpolation={self.interpolation} must be {' or '.join(_INTERPOLATIONS)}.")

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """One view, uint8 RGB (size, size, 3), of an image, uint8 RGB (H, W, 3)."""
        x, y, width, height = self._box(image.shape[0], image.shape[1], rng)
        view = resize(image[y : y + height, x : x + width], self.size, self.interpolation)
        if rng.random() < self.horizontal_flip:
            view = np.asarray(cv2.flip(view, 1), np.uint8)  # a tenth of the time that numpy takes
        if rng.random() < self.vertical_flip:
            view = np.asarray(cv2.flip(view, 0), np.uint8)
        if self.quarter_turns:
            view = np.rot90(view, int(rng.integers(4)))
        if self.brightness or self.contrast:
            view = self._jittered(view, rng)
        return np.ascontiguousarray(view)

    def _box(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        for _ in range(_TRIES):
            area = height * width * rng.uniform(self.scale[0], self.scale[1])
            aspect = np.exp(rng.uniform(np.log(self.ratio[0]), np.log(self.ratio[1])))
            w, h = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
            if 0 < w <= width and 0 < h <= height:
                return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
        w = min(width, max(1, round(height * self.ratio[1])))
        h = min(height, max(1, round(width / self.ratio[0])))
        return (width - w) // 2, (height - h) // 2, w, h

    def _jittered(self, view: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        values = view.astype(np.float32) * rng.uniform(1 - self.brightness, 1 + self.brightness)
        mean = values.mean()
        values = (values - mean) * rng.uniform(1 - self.contrast, 1 + self.contrast) + mean
        jittered: NDArray[np.uint8] = np.clip(values, 0, 255).round().astype(np.uint8)
        return jittered


@dataclass(frozen=True)
class WholeView:
    """The whole image, resized: what evaluation and feature extraction see.

    Attributes:
        size: Side of the square view, pixels.
    """

    size: int

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """The view, uint8 RGB (size, size, 3); `rng` is not used."""
        return resize(image, self.size)


def resize(image: NDArray[np.uint8], size: int, interpolation: str = "bicubic") -> NDArray[np.uint8]:
    """The image as a square, without aliases where it shrinks.

    The same filter as Pillow's, and so that of the published codes, to within a rounding of 1 in 255; PyTorch has it
    for 8-bit images, several times faster than OpenCV averages areas.

    Args:
        image: uint8 RGB (H, W, 3).
        size: Side of the square, pixels.
        interpolation: "bicubic" or "bilinear".
    """
    # The batch comes first and the permutation then: so PyTorch sees the pixels' order and keeps it, where turning the
    # result would take four times as long as making it.
    batch = torch.from_numpy(np.ascontiguousarray(image))[None].permute(0, 3, 1, 2)
    resized = interpolate(batch, (size, size), mode=interpolation, antialias=True)[0]
    return np.ascontiguousarray(resized.permute(1, 2, 0).numpy())
