"""The view that published fine-tunings train on: a crop, RandAugment, and a rectangle of noise."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from timm.data.auto_augment import rand_augment_transform

from activessf.data.augmentations import RandomView
from activessf.data.datasets import IMAGENET_MEAN, IMAGENET_STD
from activessf.errors import InputError

_POLICY = re.compile(r"rand(-(m|n|mmax|inc)\d+|-(p|mstd)\d+(\.\d+)?)*")
_SHIFTED = 0.45  # of the side, the most that RandAugment moves an image; as timm's training transforms have it
# Random erasing (Zhong et al., AAAI 2020, arXiv 1708.04896), with the ranges of timm.
_ERASED = (0.02, 1 / 3)  # share of the image's area
_ASPECT = 0.3  # height / width is 0.3 to 1 / 0.3
_TRIES = 10


class AugmentedView:
    """A random resized crop, mirrored, then RandAugment (Cubuk et al., arXiv 1909.13719) and random erasing.

    RandAugment is timm's. It draws from the global generators of Python and numpy, which are seeded for it and put
    back, so that the view is a function of `rng` alone.

    Args:
        size: Side of the square view, pixels.
        scale: Smallest and largest share of the image's area that a crop covers, in (0, 1].
        horizontal_flip: Probability of mirroring left and right.
        rand_augment: timm's name of the policy, such as "rand-m9-mstd0.5-inc1"; None = none.
        erasing: Probability with which a rectangle is replaced by noise: N(0, 1) once the image is
            normalised, clipped to pixels of 0 to 255 (which takes 4 % of the values at most).

    Raises:
        InputError: A value that can't be.
    """

    def __init__(
        self,
        size: int,
        scale: Sequence[float],
        horizontal_flip: float = 0.5,
        rand_augment: str | None = None,
        erasing: float = 0.0,
    ) -> None:
        self.size = size
        self._crop = RandomView(size, scale, horizontal_flip=horizontal_flip)
        if not (isinstance(erasing, int | float) and 0 <= erasing <= 1):
            raise InputError(f"view.erasing={erasing} must be a probability, 0 to 1.")
        self._erasing = erasing
        self._augment = None if rand_augment is None else _rand_augment(rand_augment, size)

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """One view, uint8 RGB (size, size, 3), of an image, uint8 RGB (H, W, 3)."""
        view = self._crop(image, rng)
        if self._augment is not None:
            with _globally_seeded(int(rng.integers(2**32))):
                view = np.array(self._augment(Image.fromarray(view)), np.uint8)
        if rng.random() < self._erasing:
            _erase(view, rng)
        return view


def _rand_augment(policy: str, size: int) -> Callable[[Image.Image], Image.Image]:
    if not isinstance(policy, str) or not _POLICY.fullmatch(policy):
        raise InputError(
            f"view.rand_augment={policy} is no policy of RandAugment; give null, or one such as rand-m9-mstd0.5-inc1."
        )
    mean = tuple(round(255 * channel) for channel in IMAGENET_MEAN)
    settings = {"translate_const": int(_SHIFTED * size), "img_mean": mean, "interpolation": Image.Resampling.BICUBIC}
    augment: Callable[[Image.Image], Image.Image] = rand_augment_transform(policy, settings)
    return augment


@contextmanager
def _globally_seeded(seed: int) -> Iterator[None]:
    before, numpy_before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)


def _erase(view: NDArray[np.uint8], rng: np.random.Generator) -> None:
    size = len(view)
    for _ in range(_TRIES):
        area = size**2 * rng.uniform(*_ERASED)
        aspect = np.exp(rng.uniform(np.log(_ASPECT), -np.log(_ASPECT)))
        height, width = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
        if height < size and width < size:
            top, left = int(rng.integers(size - height + 1)), int(rng.integers(size - width + 1))
            noise = rng.normal(IMAGENET_MEAN, IMAGENET_STD, (height, width, 3))
            view[top : top + height, left : left + width] = np.clip(255 * noise, 0, 255).round().astype(np.uint8)
            return
