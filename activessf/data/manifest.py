"""`data=manifest`: a cells.csv that names images, labels and, if known, boxes, groups and splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from activessf.data.source import Source, existing_folder, images_below, make_source
from activessf.errors import InputError
from activessf.manifests import BOX, read_table


def manifest_source(
    root: str | None,
    cells: str,
    slides: str,
    classes: Sequence[str] | None,
    rare: Sequence[str],
    common: Sequence[str],
) -> Source:
    """Cells from a CSV file below `root`, slides from a folder below `root`.

    Args:
        root: Folder that image paths are relative to.
        cells: The CSV file, relative to `root`; columns image, label and optionally x, y, width, height, group, split.
        slides: Folder of the slides, relative to `root`.
        classes: The classes in the order of tables; None = the labels found, sorted.
        rare: Classes that tables mark as rare.
        common: Classes that tables mark as common.

    Raises:
        InputError: A file, folder, column or number is missing or wrong.
    """
    base = existing_folder(root, "data.root")
    table = read_table(base / cells, ["image", "label"])
    for column in {"image", "label", "group"} & set(table.columns):
        table[column] = table[column].str.strip()
    _check_cells(table, base / cells)
    return make_source(base, table, images_below(base, slides), classes, rare, common)


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
