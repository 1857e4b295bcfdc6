"""Histograms of what stage 1 kept and rejected, with the bounds of the filter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from activessf.regions.quality.results import Results

_BARS = 36


class Chart(NamedTuple):
    """A histogram: kept boxes, and below them the rejected ones.

    Attributes:
        title: What is counted.
        edges: Of the bars, (n + 1,).
        kept: Height of each bar, (n,).
        rejected: The same of the rejected boxes; empty: there is no such part.
        bounds: The filter's bounds: name and value.
        note: What the reader must know besides.
    """

    title: str
    edges: list[float]
    kept: list[int]
    rejected: list[int]
    bounds: list[tuple[str, float]]
    note: str


def charts(results: Results) -> list[Chart]:
    """Sizes of the boxes, in pixels and where the resolution is known in micrometres, fill rates, regions a slide."""
    slides = results.slides
    by_image = slides.set_index("image")
    kept, rejected = (_sides(table, by_image) for table in (results.regions, results.rejected))
    # A margin lies round the kept boxes alone, and the bounds are those of the boxes without it.
    for side in ("shorter", "longer"):
        kept[side] -= 2 * results.regions["image"].map(by_image["margin"])
    units = [("px", pd.Series(1.0, slides.index), 1.0)]
    if slides["resolution"].notna().any():
        units.append(("µm", slides["resolution"], 0.1))
    charts = []
    for unit, scale, step in units:
        for side, bound, name in (("shorter", "least", "min_size"), ("longer", "greatest", "max_size")):
            title = f"{side.capitalize()} side of the box, {unit}"
            sides = [(part[side] * (1.0 if unit == "px" else part["resolution"])).dropna() for part in (kept, rejected)]
            charts.append(histogram(title, sides[0], sides[1], _bounds(name, slides[bound] * scale), step))
    fills = [table["fill_rate"].astype(float) for table in (results.regions, results.rejected)]
    charts.append(histogram("Fill rate", fills[0], fills[1], _bounds("min_fill_rate", slides["fill"]), 0.01, 1.0))
    return [*charts, histogram("Regions in a slide", slides["regions"])]


def histogram(
    title: str,
    kept: pd.Series[Any],
    rejected: pd.Series[Any] | None = None,
    bounds: Sequence[tuple[str, float]] = (),
    least_step: float = 1.0,
    greatest: float | None = None,
) -> Chart:
    """Count values, 0 or more, in bars of a round width; what lies far beyond the others stands in the last bar.

    Args:
        title: What is counted.
        kept: Values of what was kept.
        rejected: Values of what was rejected; None: there is no such part.
        bounds: Names and values of lines to be drawn.
        least_step: Least width of a bar.
        greatest: Greatest value there can be; None: as the values are.
    """
    parts = [kept.to_numpy(float), *([] if rejected is None else [rejected.to_numpy(float)])]
    if greatest is None:
        highest = [1.0, *(1.1 * value for _, value in bounds), *(_usual_maximum(part) for part in parts if len(part))]
        step = _round_step(max(max(highest) / _BARS, least_step))
        count = math.floor(round(max(highest) / step, 6)) + 1
    else:
        step = _round_step(max(greatest / _BARS, least_step))
        count = math.ceil(round(greatest / step, 6))
    edges = np.round(step * np.arange(count + 1), 9)
    counts = [np.histogram(np.minimum(part, edges[-1]), edges)[0].tolist() for part in parts]
    beyond = 0 if greatest is not None else sum(int((part >= edges[-1]).sum()) for part in parts)
    note = f"The last bar holds {beyond:,} of {edges[-1]:g} or more." if beyond else ""
    return Chart(title, edges.tolist(), counts[0], counts[1] if len(counts) > 1 else [], list(bounds), note)


def _sides(boxes: pd.DataFrame, by_image: pd.DataFrame) -> pd.DataFrame:
    size = boxes[["width", "height"]].astype(float)
    resolution = boxes["image"].map(by_image["resolution"]).astype(float)
    return pd.DataFrame({"shorter": size.min(axis=1), "longer": size.max(axis=1), "resolution": resolution})


def _bounds(name: str, values: pd.Series[Any]) -> list[tuple[str, float]]:
    """The one line of a bound, or two where it differs by slide."""
    different = sorted({round(value, 2) for value in values.dropna().tolist()})
    if len(different) < 2:
        return [(name, value) for value in different]
    return [(f"lowest {name}", different[0]), (f"highest {name}", different[-1])]


def _usual_maximum(values: NDArray[np.float64]) -> float:
    """The greatest value, or where it lies far out the one that 99 % don't exceed."""
    usual, greatest = float(np.quantile(values, 0.99)), float(values.max())
    return greatest if greatest <= 2 * usual else usual


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least) + 1e-9)
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))
