"""Settings of the region filter for single slides, or patients, read from a CSV file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from activessf.errors import InputError
from activessf.manifests import read_table
from activessf.regions.filtering import RegionFilter

_PRESET = "regions"


def read_overrides(
    path: Path, slides: Sequence[str], region_filter: RegionFilter, preset: Callable[[str], RegionFilter]
) -> dict[str, RegionFilter]:
    """The filters of the slides that a file of overrides names.

    The file has a column `image`: a slide's path or a pattern of paths (`patient7/*`), as in regions.csv. The other
    columns are `regions`, the name of a preset, and any setting of the filter (`min_size`, `fill_holes`, ...), written
    as in a configuration file; an empty field changes nothing. Where several rows name a slide they apply from top to
    bottom.

    Args:
        path: The CSV file.
        slides: Paths of all slides.
        region_filter: What the settings replace values of, where no preset is named.
        preset: Gives the filter of a preset by its name.

    Returns:
        The filter of every slide that is named.

    Raises:
        InputError: A column is no setting, a value can't be, a preset is not there, or a row names no slide.
    """
    table = read_table(path, ["image"])
    known = {field.name for field in fields(RegionFilter)}
    stray = sorted(set(table.columns) - known - {"image", _PRESET})
    if stray:
        raise InputError(
            f"{path} has the column {stray[0]!r}, which is no setting of the region filter; "
            f"there are image, {_PRESET}, {', '.join(sorted(known))}."
        )
    filters: dict[str, RegionFilter] = {}
    every = dict.fromkeys(slides)
    for row in pd.read_csv(  # as text, since values are YAML
        path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True
    ).to_dict("records"):
        named = fnmatched(str(row["image"]).strip(), every)
        if not named:
            raise InputError(f"{path} names {row['image']!r}, which is no slide and matches none; correct the path.")
        for slide in named:
            filters[slide] = _overridden(filters.get(slide, region_filter), row, preset, path)
    return filters


def fnmatched(pattern: str, slides: Collection[str]) -> list[str]:
    """The slides that a path or pattern names; a path that is there as it is written is no pattern."""
    return [pattern] if pattern in slides else [slide for slide in slides if fnmatchcase(slide, pattern)]


def _overridden(
    region_filter: RegionFilter, row: Mapping[str, Any], preset: Callable[[str], RegionFilter], path: Path
) -> RegionFilter:
    given = {str(key): str(value).strip() for key, value in row.items() if key != "image" and str(value).strip()}
    try:
        if _PRESET in given:
            region_filter = preset(given.pop(_PRESET))
        return replace(region_filter, **{key: yaml.safe_load(value) for key, value in given.items()})
    except InputError as error:
        raise InputError(f"{path}, in the row of {row['image']!r}: {error}") from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}, in the row of {row['image']!r}: a value can't be read ({reason}).") from error
