"""Changes of colour, as pure functions and as a random jitter. Numbers are drawn from a generator that is handed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from activessf.errors import InputError

Colours = NDArray[np.float32]  # RGB in 0-1, (H, W, 3)

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as PIL's


@dataclass(frozen=True)
class ColourJitter:
    """Brightness, contrast, saturation and hue changed by random amounts, one after another in a random order.

    Attributes:
        probability: That a view is changed at all.
        brightness: Brightness is scaled by a factor in 1 +- brightness.
        contrast: Contrast about the mean grey is scaled by a factor in 1 +- contrast.
        saturation: Saturation is scaled by a factor in 1 +- saturation.
        hue: Hue is turned by a share of the circle in +- hue, at most 0.5.
    """

    probability: float
    brightness: float
    contrast: float
    saturation: float
    hue: float

    def __post_init__(self) -> None:
        """Check the values, which come from a user's configuration."""
        check_share("jitter.probability", self.probability)
        for name in ("brightness", "contrast", "saturation"):
            check_share(f"jitter.{name}", getattr(self, name))
        if not 0 <= self.hue <= 0.5:
            raise InputError(f"view.jitter.hue={self.hue} must lie in [0, 0.5], shares of the colour circle.")

    def __call__(self, colours: Colours, rng: np.random.Generator) -> Colours:
        """The colours changed, or as they are."""
        if rng.random() >= self.probability:
            return colours
        changes: list[tuple[Callable[[Colours, float], Colours], float]] = [
            (brightened, rng.uniform(1 - self.brightness, 1 + self.brightness)),
            (contrasted, rng.uniform(1 - self.contrast, 1 + self.contrast)),
            (saturated, rng.uniform(1 - self.saturation, 1 + self.saturation)),
            (hue_turned, rng.uniform(-self.hue, self.hue)),
        ]
        for number in rng.permutation(len(changes)):
            change, amount = changes[number]
            colours = change(colours, amount)
        return colours


def brightened(colours: Colours, factor: float) -> Colours:
    """Brightness scaled; a factor of 0 gives black."""
    return _clipped(factor * colours)


def contrasted(colours: Colours, factor: float) -> Colours:
    """Contrast scaled about the image's mean grey; a factor of 0 gives that grey."""
    return _clipped(factor * colours + (1 - factor) * (colours @ _LUMA).mean())


def saturated(colours: Colours, factor: float) -> Colours:
    """Saturation scaled about each pixel's grey; a factor of 0 gives a grey image."""
    return _clipped(factor * colours + (1 - factor) * grey(colours))


def hue_turned(colours: Colours, turn: float) -> Colours:
    """Hue turned by a share of the colour circle, -0.5 to 0.5."""
    hsv = cv2.cvtColor(colours, cv2.COLOR_RGB2HSV)  # of 32-bit floats the hue is in degrees
    hsv[..., 0] = (hsv[..., 0] + 360 * turn) % 360
    return _clipped(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def grey(colours: Colours) -> Colours:
    """Without colour, in three equal channels."""
    return np.repeat((colours @ _LUMA)[..., None], 3, axis=-1)


def blurred(colours: Colours, sigma: float) -> Colours:
    """Blurred by a Gaussian.

    Args:
        colours: RGB.
        sigma: Standard deviation of the Gaussian, pixels.
    """
    return _clipped(cv2.GaussianBlur(colours, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))


def solarized(image: NDArray[np.uint8], threshold: int) -> NDArray[np.uint8]:
    """Values from `threshold` on inverted, of uint8 RGB, (H, W, 3)."""
    return np.where(image < threshold, image, 255 - image)


def check_share(name: str, value: float) -> None:
    """Check that a value of a view lies in [0, 1].

    Raises:
        InputError: It does not.
    """
    if not 0 <= value <= 1:
        raise InputError(f"view.{name}={value} must lie in [0, 1].")


def _clipped(values: NDArray[Any]) -> Colours:
    clipped: Colours = np.clip(values, 0, 1).astype(np.float32, copy=False)
    return clipped
