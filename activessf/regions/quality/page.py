"""The page on which a lab judges a run of stage 1: totals, distributions, what was rejected, and a sample of pictures.

Its size follows from what it samples and lists, not from the number of slides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from activessf import __version__
from activessf.errors import InputError
from activessf.manifests import write_table, write_text
from activessf.regions.quality.charts import charts
from activessf.regions.quality.contact_sheets import SHEETS, draw_sheets
from activessf.regions.quality.gallery import choose_fields, draw_fields
from activessf.regions.quality.results import FilterOf, Results, read_results
from activessf.regions.quality.settings import filter_settings
from activessf.templates import templates

# Raised when the page or its pictures change for the same regions.
VERSION = 1

PAGE = "index.html"
WITHOUT_REGION = "slides_without_region.csv"
_TEMPLATE = "page.html.jinja"
_LISTED = 50  # slides without region on the page
_GROUPS = 20  # kinds of failure, and slides with settings of their own, on the page
_EXAMPLES = 3


def write_quality(
    regions_folder: Path,
    root: Path,
    filter_of: FilterOf,
    output: Path,
    named: Sequence[str] = (),
    num_fields: int = 24,
    num_crops: int = 200,
    seed: int = 0,
) -> Path:
    """Write the page `index.html` on a result of stage 1, and its pictures beside it.

    Pictures are `overlays/*.png` (slides with what was kept and rejected) and `contact_sheets/*.png` (crops; which
    cell is which says `contact_sheets.csv`). All slides without a region stand in `slides_without_region.csv`. Where a
    slide can't be read any more, a note takes the place of its picture. The same arguments give the same bytes.

    Args:
        regions_folder: What `find_regions` has written.
        root: Folder that the slides' paths are relative to.
        filter_of: The filter of a slide by its path, such as `Search.filter_of`.
        output: An existing, empty folder.
        named: Slides to be drawn besides the sample: paths, or patterns of paths.
        num_fields: Slides in the sample: with most regions, with none, with most rejected, and any, in equal parts.
        num_crops: Boxes on a contact sheet, at least 1.
        seed: Of the random parts of the sample.

    Returns:
        The page.

    Raises:
        InputError: A table can't be read, `named` names no slide, or a number is too small.
    """
    if num_fields < 0 or num_crops < 1:
        raise InputError(f"There can't be {num_fields} fields and {num_crops} crops; give at least 0 and at least 1.")
    results = read_results(regions_folder, filter_of)
    chosen = choose_fields(results.slides, results.failures, named, num_fields, np.random.default_rng(seed))
    gallery = draw_fields(chosen, results, root, filter_of, output)
    sheets = draw_sheets(results, regions_folder, root, output, num_crops, np.random.default_rng(seed))
    columns = ["image", "width", "height", "resolution", "rejected", "specks"]
    write_table(results.without_region[columns], output / WITHOUT_REGION)
    page = output / PAGE
    write_text(_rendered(results, gallery, sheets, filter_of, root, regions_folder.name), page)
    return page


def grouped_failures(failures: pd.DataFrame, root: Path) -> list[tuple[str, list[str]]]:
    """Kinds of failure, the commonest first: the reason of the first, its path left out, and the slides."""
    groups: dict[str, tuple[str, list[str]]] = {}
    for image, reason in failures[["image", "reason"]].itertuples(index=False):
        kind = reason.replace(str(root / image), "...").replace(image, "...")
        groups.setdefault(re.sub(r"\d+", "0", kind), (kind, []))[1].append(image)
    return sorted(groups.values(), key=lambda group: (-len(group[1]), group[0]))


def _rendered(
    results: Results,
    gallery: Sequence[Mapping[str, Any]],
    sheets: Sequence[Mapping[str, Any]],
    filter_of: FilterOf,
    root: Path,
    source: str,
) -> str:
    environment = templates(Path(__file__).parent)
    settings, own = filter_settings([*results.slides["image"], *results.failures["image"]], filter_of)
    return environment.get_template(_TEMPLATE).render(
        _totals(results),
        source=source,
        version=__version__,
        charts=charts(results),
        reasons=_reasons(results.rejected),
        without_listed=results.without_region.head(_LISTED).to_dict("records"),
        without_file=WITHOUT_REGION,
        failure_groups=grouped_failures(results.failures, root),
        most_groups=_GROUPS,
        examples=_EXAMPLES,
        drawn={entry["image"]: entry["id"] for entry in gallery},
        gallery={kind: [entry for entry in gallery if entry["kind"] == kind] for kind in (e["kind"] for e in gallery)},
        sheets=sheets,
        sheets_file=SHEETS,
        settings=settings,
        own=own[:_GROUPS],
        more_own=max(0, len(own) - _GROUPS),
    )


def _totals(results: Results) -> dict[str, int]:
    return {
        "slides": len(results.slides) + len(results.failures),
        "regions": len(results.regions),
        "with_region": len(results.slides) - len(results.without_region),
        "without": len(results.without_region),
        "failed": len(results.failures),
        "rejected": len(results.rejected),
        "specks": int(results.slides["specks"].sum()),
    }


def _reasons(rejected: pd.DataFrame) -> list[tuple[str, int, int]]:
    """Reasons, the commonest first, with the numbers of boxes and of slides."""
    counts = rejected.groupby("reason")["image"].agg(["size", "nunique"])
    counts = counts.sort_values("size", ascending=False, kind="stable")
    return [(reason, *numbers) for reason, numbers in zip(counts.index, counts.to_numpy().tolist(), strict=True)]
