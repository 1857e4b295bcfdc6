"""The filters that calibration tries: one to begin with, and other values of one setting at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activessf.regions.filtering import RegionFilter
from activessf.regions.stain import StainRange, hsv

# What makes candidates of a filter, in the order of the setting's values; and the place, in [0, 1), of the one to take
# in a run of those that do equally well.
Setting = tuple[Callable[[RegionFilter], list[RegionFilter]], float]


def first_filter(
    start: RegionFilter,
    colours: NDArray[np.uint8],
    inside: NDArray[np.float64],
    outside: NDArray[np.float64],
    sizes: tuple[float, float],
) -> RegionFilter:
    """A filter whose range is the HSV box of the colours that are likelier inside the labels than outside.

    Args:
        start: Gives all that isn't set here.
        colours: RGB, (K, 3).
        inside: Pixels of each colour inside the labels, (K,).
        outside: Outside of them, (K,).
        sizes: Least and greatest side of a labeled cell in pixels.
    """
    low, high = sizes
    likelier = inside / inside.sum() > 2 * outside / max(outside.sum(), 1)
    if not likelier.any():
        likelier = inside >= np.quantile(inside, 0.8)
    stain = _surrounding(hsv(colours[None])[0][likelier], inside[likelier])
    return replace(
        start,
        stain_ranges=[stain],
        fill_holes=True,
        min_size=max(1, round(0.5 * low)),
        max_size=max(1, round(2 * high)),
        min_fill_rate=0.5,
        split_touching=False,
    )


def stain_settings() -> list[Setting]:
    """Bounds of the first stain range."""
    return [
        (lambda f: _bounds(f, "saturation", 0), 0.5),
        (lambda f: _hues(f, 0), 0.5),
        (lambda f: _hues(f, 1), 0.5),
        (lambda f: _bounds(f, "value", 1), 0.5),
        (lambda f: _bounds(f, "value", 0), 0.5),
    ]


def shape_settings(low: float, high: float) -> list[Setting]:
    """What is made of the mask; sizes are by the least and greatest side of a label, largest sizes from loose to tight.

    Where values do equally well: a wide closing, since few fields may not show the most lobed nucleus; a low fill
    bound and a high limit of size, since they may not show the emptiest and the largest cell; and no splitting.
    """
    smallest = sorted({max(1, round(low * factor)) for factor in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)})
    largest = sorted({round(high * factor) for factor in (1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5)}, reverse=True)
    margins = sorted({round(low * factor) for factor in (0, 0.03, 0.06, 0.09, 0.12, 0.16, 0.2)})
    fill_rates = (0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
    return [
        (lambda f: [replace(f, fill_holes=fill) for fill in (False, True)], 0.5),
        (lambda f: [replace(f, closing=closing) for closing in (0, 3, 5, 7, 9, 11, 13, 17, 21)], 0.75),
        (lambda f: [replace(f, margin=margin) for margin in margins], 0.5),
        (lambda f: [replace(f, min_size=size) for size in smallest], 0.35),
        (lambda f: [replace(f, max_size=size) for size in largest], 0.25),
        (lambda f: [replace(f, min_fill_rate=fill) for fill in fill_rates], 0.25),
        (lambda f: [replace(f, split_touching=parted) for parted in (False, True)], 0.0),
    ]


def _surrounding(colours: NDArray[np.uint8], weights: NDArray[np.float64]) -> StainRange:
    """The range that holds most of the weight, without a tenth at either end; the hue as an arc round its mean."""
    angles = colours[:, 0] * (np.pi / 90)
    middle = float(np.angle((weights * np.exp(1j * angles)).sum()))
    turned = np.rint((np.angle(np.exp(1j * (angles - middle)))) * 90 / np.pi)
    low, high = _quantiles(turned, weights)
    centre = middle * 90 / np.pi
    saturation, value = _quantiles(colours[:, 1], weights), _quantiles(colours[:, 2], weights)
    return {
        "name": "calibrated",
        "hue": [round(centre + low - 12) % 180, round(centre + high + 12) % 180],
        "saturation": [max(0, round(saturation[0] - 15)), 255],
        "value": [max(0, round(value[0] - 40)), min(255, round(value[1] + 15))],
    }


def _quantiles(values: NDArray[Any], weights: NDArray[np.float64]) -> tuple[float, float]:
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    low, high = (values[order][min(int(np.searchsorted(share, quantile)), len(values) - 1)] for quantile in (0.1, 0.9))
    return float(low), float(high)


def _stained(region_filter: RegionFilter, channel: str, end: int, values: Iterable[int]) -> list[RegionFilter]:
    """Candidates with other bounds of the first range."""
    first, rest = region_filter.stain_ranges[0], list(region_filter.stain_ranges[1:])
    result = []
    for bound in values:
        bounds = list(first[channel])  # type: ignore[literal-required]
        bounds[end] = bound
        if channel == "hue" or bounds[0] <= bounds[1]:
            stain: Any = {**first, channel: bounds}
            result.append(replace(region_filter, stain_ranges=[stain, *rest]))
    return result


def _hues(region_filter: RegionFilter, end: int) -> list[RegionFilter]:
    bound = region_filter.stain_ranges[0]["hue"][end]
    return _stained(region_filter, "hue", end, [(bound + step) % 180 for step in range(-20, 21, 5)])


def _bounds(region_filter: RegionFilter, channel: str, end: int) -> list[RegionFilter]:
    bound = int(region_filter.stain_ranges[0][channel][end])  # type: ignore[literal-required]
    steps = [bound + step for step in (-60, -40, -25, -15, -8, 0, 8, 15, 25, 40, 60)]
    return _stained(region_filter, channel, end, sorted({min(max(step, 0), 255) for step in steps}))
