"""Two views of an image that differ in crop and colours, for methods that contrast views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from activessf.data.augmentations import RandomView
from activessf.data.colour_changes import ColourJitter, blurred, check_share, grey, solarized
from activessf.errors import InputError


@dataclass(frozen=True)
class TwoViews:
    """Two random views as MoCo v3 has them (arXiv 2104.02057; BYOL's, arXiv 2006.07733, appendix B).

    Each is a crop, then jittered, greyed, blurred and solarized. Mirroring and turning belong to the crop here: the
    other steps do the same before and after.

    Attributes:
        crop: Crops, resizes, mirrors and turns.
        jitter: Jitters the colours.
        grey: Probability that a view loses its colours.
        blur: Probability of a blur, of the first and of the second view.
        blur_sigma: Smallest and largest standard deviation of the blur, pixels of the view.
        solarize: Probability that bright values are inverted, of the first and of the second view.
        solarize_threshold: The smallest value that is inverted, 0-255.
    """

    crop: RandomView
    jitter: ColourJitter
    grey: float
    blur: Sequence[float]
    blur_sigma: Sequence[float]
    solarize: Sequence[float]
    solarize_threshold: int

    def __post_init__(self) -> None:
        """Check the values, which come from a user's configuration."""
        check_share("grey", self.grey)
        for name in ("blur", "solarize"):
            values = getattr(self, name)
            if len(values) != 2:
                raise InputError(f"view.{name}={list(values)} must be two probabilities, one a view.")
            for value in values:
                check_share(name, value)
        if len(self.blur_sigma) != 2 or not 0 < self.blur_sigma[0] <= self.blur_sigma[1]:
            raise InputError(f"view.blur_sigma={list(self.blur_sigma)} must be two widths, 0 < smallest <= largest.")

    @property
    def size(self) -> int:
        """Side of the square views, pixels."""
        return self.crop.size

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Both views, uint8 RGB (2, size, size, 3), of an image, uint8 RGB (H, W, 3)."""
        return np.stack(
            [self._view(image, rng, blur, solarize) for blur, solarize in zip(self.blur, self.solarize, strict=True)]
        )

    def _view(
        self, image: NDArray[np.uint8], rng: np.random.Generator, blur: float, solarize: float
    ) -> NDArray[np.uint8]:
        colours = self.jitter(self.crop(image, rng).astype(np.float32) / np.float32(255), rng)
        if rng.random() < self.grey:
            colours = grey(colours)
        if rng.random() < blur:
            colours = blurred(colours, rng.uniform(self.blur_sigma[0], self.blur_sigma[1]))
        view: NDArray[np.uint8] = (255 * colours).round().astype(np.uint8)
        if rng.random() < solarize:
            view = solarized(view, self.solarize_threshold)
        return view
