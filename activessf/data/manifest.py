"""`data=manifest`: a cells.csv that names images, labels and, if known, boxes, groups and splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from activessf.data.slide_files import slide_size
from activessf.data.source import Source, check_paths, existing_folder, images_below, make_source
from activessf.data.squares import square_round
from activessf.errors import InputError
from activessf.manifests import BOX, read_table


def manifest_source(
    root: str | None,
    cells: str,
    slides: str,
    box_size: int | None,
    classes: Sequence[str] | None,
    rare: Sequence[str],
    common: Sequence[str],
    truth: str | None = None,
) -> Source:
    """Cells from a CSV file below `root`, slides from a folder below `root`.

    Args:
        root: Folder that image paths are relative to.
        cells: The CSV file, relative to `root`; columns image, label and optionally x, y, width, height, group, split.
        slides: Folder of the slides, relative to `root`.
        box_size: Side in pixels of the square round a cell of which only the centre, x and y, is given; None = such
            cells are refused.
        classes: The classes in the order of tables; None = the labels found, sorted.
        rare: Classes that tables mark as rare.
        common: Classes that tables mark as common.
        truth: A second CSV file of the same kind, with every cell whose class is known, the labeled ones among them, if
            that is more than the stages are to be told; see `Source.truth`.

    Raises:
        InputError: A file, folder, column or number is missing or wrong.
    """
    base = existing_folder(root, "data.root")
    table = _read_cells(base, cells, box_size)
    source = make_source(base, table, images_below(base, slides), classes, rare, common)
    if truth is None:
        return source
    known = _read_cells(base, truth, box_size)
    return replace(source, truth=_checked_truth(known, source.cells, base, truth))


def _checked_truth(known: pd.DataFrame, cells: pd.DataFrame, base: Path, name: str) -> pd.DataFrame:
    """The known cells, if they can be the truth about a source's slides."""
    path, columns = base / name, ["image", *BOX]
    missing = [column for column in BOX if column not in known.columns]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]}: a cell's class is known of a place.")
    if known.empty:
        raise InputError(f"{path} holds no cells; leave data.truth away.")
    check_paths(base, known["image"])
    sizes = known[["width", "height"]].to_numpy(float)
    boxes = np.isfinite(known[list(BOX)].to_numpy(float)).all(axis=1) & (sizes > 0).all(axis=1)
    _refuse(known[~boxes], "width", path, "belongs to no box with a place and a size")
    boxed = cells[np.isfinite(cells[list(BOX)].to_numpy(float)).all(axis=1)][columns].astype(dict.fromkeys(BOX, float))
    there = known[columns].astype(dict.fromkeys(BOX, float)).drop_duplicates()
    lacking = len(boxed) - len(boxed.merge(there, on=columns))
    if lacking:
        raise InputError(f"{path} lacks {lacking} of the {len(boxed)} labeled cells; it must hold them too.")
    return known[["image", "label", *BOX]]


def _read_cells(base: Path, name: str, box_size: int | None) -> pd.DataFrame:
    table = read_table(base / name, ["image", "label"])
    for column in {"image", "label", "group"} & set(table.columns):
        table[column] = table[column].str.strip()
    _check_cells(table, base / name)
    return table if box_size is None else _with_squares(table, base, box_size)


def _with_squares(table: pd.DataFrame, root: Path, side: int) -> pd.DataFrame:
    """Centres as squares, moved inwards where they would leave the image."""
    if type(side) is not int or side < 1:
        raise InputError(f"data.box_size={side} must be null or a whole number of pixels, 1 or more.")
    table = table.reindex(columns=[*table.columns, *(name for name in BOX if name not in table.columns)])
    centres = table["width"].isna() & table["height"].isna() & table["x"].notna() & table["y"].notna()
    check_paths(root, table.loc[centres, "image"])
    sizes = {image: slide_size(root / image) for image in sorted(set(table.loc[centres, "image"]))}
    for index, image, x, y in table.loc[centres, ["image", "x", "y"]].itertuples():
        height, width = sizes[image]
        table.loc[index, list(BOX)] = square_round(x, y, side, width, height)
    return table


def _check_cells(table: pd.DataFrame, path: Path) -> None:
    for column in ("image", "label"):
        _refuse(table[table[column] == ""], column, path, "is empty")
    for column in BOX:
        if column in table.columns:
            finite = np.isfinite(pd.to_numeric(table[column], errors="coerce").astype(float))
            _refuse(table[~finite & table[column].notna()], column, path, "is no number")


def _refuse(wrong: pd.DataFrame, column: str, path: Path, fault: str) -> None:
    if not wrong.empty:
        # Line 1 is the header, and people count from 1.
        raise InputError(f"{path}, line {wrong.index[0] + 2}: {column}={str(wrong[column].iloc[0])!r} {fault}.")
