"""The tables of stage 1 as the quality control reads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from activessf.manifests import BOX, FAILURES, REGIONS, REJECTED, SLIDES, read_table
from activessf.regions.boxes import Found, Region, Rejected
from activessf.regions.filtering import RegionFilter

FilterOf = Callable[[str], RegionFilter]


class Results(NamedTuple):
    """The tables of stage 1, sorted by image; `slides` has the filter's bounds in the pixels of each slide, too."""

    regions: pd.DataFrame
    rejected: pd.DataFrame
    slides: pd.DataFrame
    failures: pd.DataFrame

    @property
    def without_region(self) -> pd.DataFrame:
        """The slides in which no region was kept."""
        return self.slides[self.slides["regions"] == 0]


def read_results(folder: Path, filter_of: FilterOf) -> Results:
    """Read what `find_regions` has written.

    Args:
        folder: That it has written into.
        filter_of: The filter of a slide by its path.

    Raises:
        InputError: A table is missing or lacks a column.
    """
    tables = Results(
        *(
            read_table(folder / f"{name}.csv", columns).sort_values("image", kind="stable", ignore_index=True)
            for name, columns in (
                ("regions", REGIONS),
                ("rejected", REJECTED),
                ("slides", SLIDES),
                ("failures", FAILURES),
            )
        )
    )
    return tables._replace(slides=_with_bounds(tables.slides, filter_of))


def found_in(results: Results, image: str) -> Found:
    """The boxes of one slide, without the number of its specks."""

    def rows(table: pd.DataFrame, *more: str) -> Iterator[Any]:
        columns = [*BOX, "fill_rate", "area", *more]
        yield from table.loc[table["image"] == image, columns].itertuples(index=False, name=None)

    rejected = [Rejected(Region(*values[:-1]), values[-1]) for values in rows(results.rejected, "reason")]
    return Found([Region(*values) for values in rows(results.regions)], rejected, 0)


def _with_bounds(slides: pd.DataFrame, filter_of: FilterOf) -> pd.DataFrame:
    slides = slides.astype({"resolution": float, "regions": int, "rejected": int, "specks": int})
    filters = [
        filter_of(image).at(None if math.isnan(resolution) else resolution)
        for image, resolution in slides[["image", "resolution"]].itertuples(index=False)
    ]
    slides["least"] = np.array([item.min_size for item in filters], float)
    slides["greatest"] = np.array([item.max_size for item in filters], float)  # None becomes nan
    slides["fill"] = np.array([item.min_fill_rate for item in filters], float)
    slides["margin"] = np.array([item.margin for item in filters], float)
    return slides
