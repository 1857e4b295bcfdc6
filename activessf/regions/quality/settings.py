"""The settings of the filters in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from activessf.regions.filtering import RegionFilter
from activessf.regions.quality.results import FilterOf


def filter_settings(slides: Iterable[str], filter_of: FilterOf) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The settings that most slides have, and of every other slide what differs.

    Args:
        slides: Paths of the slides, at least one.
        filter_of: The filter of a slide by its path.

    Returns:
        Name and value of each setting; path and differences of each slide with settings of its own.
    """
    settings = {image: _settings(filter_of(image)) for image in slides}
    common = Counter(tuple(values.items()) for values in settings.values()).most_common(1)[0][0]
    own = [
        (image, ", ".join(f"{key}: {value}" for key, value in values.items() if (key, value) not in common))
        for image, values in settings.items()
        if tuple(values.items()) != common
    ]
    return list(common), own


def _settings(region_filter: RegionFilter) -> dict[str, str]:
    values = {field.name: getattr(region_filter, field.name) for field in fields(region_filter)}
    ranges = [
        ", ".join(f"{key} {'-'.join(map(str, item))}" if key != "name" else str(item) for key, item in stain.items())
        for stain in values["stain_ranges"]
    ]
    return {name: _spelled(value) for name, value in (values | {"stain_ranges": "; ".join(ranges)}).items()}


def _spelled(value: Any) -> str:
    return {True: "on", False: "off", None: "none"}[value] if value is None or type(value) is bool else str(value)
