"""The project's own tables of boxes, taken up for export: regions, selections, predictions, any CSV of boxes."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from activessf.artifacts import INPUTS_FILE
from activessf.data.slide_files import slide_size
from activessf.errors import InputError
from activessf.interchange.cells import Size
from activessf.manifests import BOX, PROBABILITY_PREFIX, SELECTION, read_json, read_table

_REGIONS, _SELECTION, _SLIDES = "regions.csv", "selection.csv", "slides.csv"
_UNLABELED = "cell"


def read_boxes(path: Path, label: str | None = None) -> pd.DataFrame:
    """The boxes of a stage result or of a CSV file.

    A class is, in this order: `label`, the column predicted (with its probability as score), the column label, `cell`.

    Args:
        path: A result folder of stage 1 or of stage 2 (its selected regions), or a CSV file with the columns image, x,
            y, width and height.
        label: One class for all.

    Returns:
        Columns image, label, x, y, width, height, fill_rate, area and score (NaN where unknown), and group if given;
        boxes of NaN mean whole images.

    Raises:
        InputError: There is no such table, or a value in it is no number.
    """
    table_path, crops = _table_and_crops(path)
    table = read_table(table_path, ["image", *BOX])
    if crops is not None:
        table = table[table["crop"].isin(crops)]
    numbers = {name: _numbers(table, name, table_path) for name in (*BOX, "fill_rate", "area")}
    given = numbers["x"].notna() + sum(numbers[side].notna().astype(int) for side in BOX[1:])
    partial = given.index[(given != 0) & (given != len(BOX))]
    if len(partial):
        raise InputError(
            f"{table_path}, line {partial[0] + 2}: only a part of the box is given; give all of it or none."
        )
    labels = _labels(table, label)
    score = _scores(table, table_path) if label is None else pd.Series(math.nan, table.index)
    groups = {"group": table["group"]} if "group" in table.columns else {}
    columns: dict[str, Any] = {"image": table["image"], "label": labels, **numbers, "score": score, **groups}
    return pd.DataFrame(columns).reset_index(drop=True)


def read_sizes(path: Path, images: Collection[str], root: Path | None) -> dict[str, Size]:
    """Width and height of every image, from stage 1's slides.csv or the images' headers.

    Args:
        path: As `read_boxes` takes it.
        images: Images with boxes.
        root: Folder that image paths are relative to; None = unknown.

    Returns:
        Sizes in pixels by image, sorted; with a slides.csv, of its images without boxes too.

    Raises:
        InputError: There is neither a slides.csv nor a root, or an image can't be read.
    """
    slides = _table_and_crops(path)[0].parent / _SLIDES
    if slides.is_file():
        table = read_table(slides, ["image", "width", "height"])
        sides = {name: _numbers(table, name, slides) for name in ("width", "height")}
        rows = zip(table["image"], sides["width"], sides["height"], strict=True)
        return {image: (int(width), int(height)) for image, width, height in sorted(rows) if width > 0 and height > 0}
    if root is None:
        raise InputError(
            f"There is no {_SLIDES} beside the boxes, so the sizes of the images are unknown; give the folder that the "
            "image paths are relative to: --root DIR."
        )
    sizes = {image: slide_size(root / image) for image in sorted(set(images))}
    return {image: (width, height) for image, (height, width) in sizes.items()}


def whole_images_filled(boxes: pd.DataFrame, sizes: dict[str, Size]) -> pd.DataFrame:
    """The boxes, with those of whole images filled in."""
    empty = boxes["x"].isna()
    filled = boxes.copy()
    for name, side in (("x", None), ("y", None), ("width", 0), ("height", 1)):
        known = [0 if side is None else sizes.get(image, (0, 0))[side] for image in boxes.loc[empty, "image"]]
        filled.loc[empty, name] = known
    return filled


def _table_and_crops(path: Path) -> tuple[Path, set[str] | None]:
    """The CSV file, and the crops of it that count, if not all."""
    if path.is_file():
        return path, None
    if (path / _REGIONS).is_file():
        return path / _REGIONS, None
    if not (path / _SELECTION).is_file():
        raise InputError(f"{path} is neither a CSV file nor a folder with {_REGIONS} or {_SELECTION}; check the path.")
    inputs = read_json(path / INPUTS_FILE)
    regions = inputs.get("regions") if isinstance(inputs, dict) else None
    table = path.absolute().parent.parent / "regions" / str(regions) / _REGIONS
    if not table.is_file():
        raise InputError(
            f"{path} was selected from the regions in {table}, which is not there; run preprocess.py again."
        )
    selection = read_table(path / _SELECTION, SELECTION)
    return table, set(selection.loc[selection["selected"] == 1, "crop"])


def _numbers(table: pd.DataFrame, name: str, path: Path) -> pd.Series[float]:
    """A column of numbers; NaN where there is no value or no such column."""
    if name not in table.columns:
        return pd.Series(math.nan, table.index)
    given = table[name]
    numbers = pd.to_numeric(given, errors="coerce").astype(float)
    wrong = given.index[numbers.isna() & given.notna() & (given.astype(str) != "")]
    if len(wrong):
        # Line 1 is the header, and people count from 1.
        raise InputError(f"{path}, line {wrong[0] + 2}: {name}={given[wrong[0]]!r} is no number; correct it.")
    return numbers


def _labels(table: pd.DataFrame, label: str | None) -> pd.Series[str]:
    known = [name for name in ("predicted", "label") if name in table.columns]
    if label is not None or not known:
        return pd.Series(_UNLABELED if label is None else label, table.index)
    return table[known[0]]


def _scores(table: pd.DataFrame, path: Path) -> pd.Series[float]:
    """The probability of the class that is predicted."""
    scores = pd.Series(math.nan, table.index)
    if "predicted" in table.columns:
        for name in table["predicted"].unique():
            rows = table["predicted"] == name
            scores[rows] = _numbers(table, f"{PROBABILITY_PREFIX}{name}", path)[rows]
    return scores
