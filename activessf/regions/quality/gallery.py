"""The gallery: which slides are drawn, and their pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from activessf.data.slide_files import open_slide
from activessf.errors import InputError
from activessf.regions.boxes import Found
from activessf.regions.filtering import RegionFilter
from activessf.regions.overrides import fnmatched
from activessf.regions.quality.drawing import UNREADABLE, Picture, write_picture
from activessf.regions.quality.overlays import field_picture
from activessf.regions.quality.results import FilterOf, Results, found_in


def choose_fields(
    slides: pd.DataFrame, failures: pd.DataFrame, named: Sequence[str], count: int, rng: np.random.Generator
) -> dict[str, str]:
    """Which slides are drawn, and as what: named, with most regions, without region, with most rejected, at random.

    Args:
        slides: Columns image, regions, rejected.
        failures: Column image; these are drawn only if named.
        named: Paths, or patterns of paths.
        count: How many besides the named ones, a quarter of each kind; random ones fill up what the others lack.
        rng: Draws those without region and the random ones.

    Returns:
        The kind by slide; no slide is of two kinds.

    Raises:
        InputError: A name or pattern is that of no slide.
    """
    images = sorted({*slides["image"], *failures["image"]})
    chosen: dict[str, str] = {}
    for pattern in named:
        matched = fnmatched(pattern, images)
        if not matched:
            raise InputError(f"{pattern!r} is no slide of this result and matches none; name one of slides.csv.")
        chosen |= dict.fromkeys(matched, "Named")

    def add(kind: str, candidates: Iterable[str], number: int) -> None:
        new = [image for image in candidates if image not in chosen]
        chosen.update(dict.fromkeys(new[:number], kind))

    total = len(chosen) + count
    in_order = slides.sort_values("image", ignore_index=True)
    most = in_order.sort_values("regions", ascending=False, kind="stable")
    add("Most regions", most.loc[most["regions"] > 0, "image"], count // 4)
    none = in_order.loc[in_order["regions"] == 0, "image"].to_numpy(str)
    add("No region", rng.permutation(none).tolist(), count // 4)
    rejected = in_order.sort_values("rejected", ascending=False, kind="stable")
    add("Most rejected", rejected.loc[rejected["rejected"] > 0, "image"], count // 4)
    add("Drawn at random", rng.permutation(in_order["image"].to_numpy(str)).tolist(), total - len(chosen))
    return chosen


def draw_fields(
    chosen: Mapping[str, str], results: Results, root: Path, filter_of: FilterOf, output: Path
) -> list[dict[str, Any]]:
    """Draw the chosen slides, or leave a note where one can't be read.

    Args:
        chosen: The kind by slide, as of `choose_fields`.
        results: The tables of stage 1.
        root: Folder that the slides' paths are relative to.
        filter_of: The filter of a slide by its path.
        output: Folder into which `overlays/*.png` are written.

    Returns:
        What the page says of each: `id`, `image`, `kind`, `facts`, and `file` below `output`, or None and `note`.
    """
    counts = ["width", "height", "regions", "rejected", "specks"]
    slides = results.slides.set_index("image")[counts].astype(int).to_dict("index")
    reasons = dict(results.failures[["image", "reason"]].itertuples(index=False, name=None))
    gallery = []
    for number, (image, kind) in enumerate(tqdm(chosen.items(), desc="overlays", unit="slide", disable=None), start=1):
        entry: dict[str, Any] = {"id": f"slide-{number}", "image": image, "kind": kind, "file": None}
        gallery.append(entry)
        if image in reasons:
            entry |= {"note": reasons[image], "facts": "failed in stage 1"}
            continue
        row = slides[image]
        entry["facts"] = f"{row['regions']:,} kept, {row['rejected']:,} rejected; {row['width']} x {row['height']} px"
        try:
            picture = _drawn(root / image, row, found_in(results, image), filter_of(image))
        except UNREADABLE as error:
            entry["note"] = str(error) or type(error).__name__
            continue
        entry["file"] = f"overlays/{number:03d}.png"
        write_picture(picture, output / entry["file"])
    return gallery


def _drawn(path: Path, row: Mapping[str, int], found: Found, region_filter: RegionFilter) -> Picture:
    with open_slide(path) as slide:
        if (slide.width, slide.height) != (row["width"], row["height"]):
            raise InputError(
                f"{path} has {slide.width}x{slide.height} pixels now, and had {row['width']}x{row['height']} in stage "
                "1; run stage 1 again."
            )
        return field_picture(slide, region_filter, found._replace(specks=row["specks"]))
