"""Crops of cells as small pictures inside the page."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from activessf.data.cells import CELLS_FILE
from activessf.data.images import read_image
from activessf.errors import InputError
from activessf.evaluation.page.cells import KEY, with_copies
from activessf.evaluation.runs import Run
from activessf.evaluation.stages import stage_folder
from activessf.manifests import BOX, read_table

SIDE = 80  # px, longest side of a picture
MOST_BYTES = 6 << 10  # of a picture
_QUALITIES = (82, 60, 35, 10)  # of JPEG, until it is small enough


def crop_files(runs: Iterable[Run], cells: pd.DataFrame) -> list[Path | None]:
    """The file of each cell's crop, as the cells' stage has cut it out; None where it isn't on this disk.

    Args:
        runs: Runs of one section.
        cells: Their cells, columns `KEY`.
    """
    folders = dict.fromkeys(stage_folder(result, "cells") for run in runs for result in run.folds.values())
    files: list[Path | None] = [None] * len(cells)
    for folder in folders:
        for place, crop in _crops(folder, cells).items() if folder is not None else ():
            files[place] = files[place] or crop
    return files


def _crops(folder: Path, cells: pd.DataFrame) -> dict[int, Path]:
    try:
        known = with_copies(read_table(folder / CELLS_FILE, ["image", *BOX, "label", "crop"]))
    except InputError:
        return {}
    crops = cells.merge(known[[*KEY, "crop"]], how="left", on=list(KEY))["crop"]
    inside = folder.resolve()
    found = {place: folder / crop for place, crop in enumerate(crops) if isinstance(crop, str)}
    return {place: path for place, path in found.items() if path.resolve().is_relative_to(inside) and path.is_file()}


def chosen_pictures(wanted: Iterable[tuple[int, int, int]], files: Sequence[Path | None], most: int) -> list[int]:
    """The cells that get a picture: those wanted most, each once.

    Args:
        wanted: Tier (0 first), rank within its list and cell. Within a tier, the first of every list come before the
            second of any, so that a limit takes a little from all.
        files: File of each cell's crop.
        most: How many pictures there may be.
    """
    there = (cell for _, _, cell in sorted(wanted) if files[cell] is not None)
    return list(dict.fromkeys(there))[:most]


def pictures(cells: Sequence[int], files: Sequence[Path | None]) -> dict[int, bytes]:
    """JPEG of each of these cells, of at most `SIDE` pixels a side and `MOST_BYTES`; a broken file has none."""
    result = {}
    for cell in tqdm(cells, desc="Pictures of cells", unit="cell", disable=None, leave=False):
        path = files[cell]
        assert path is not None
        try:
            result[cell] = picture(path)
        except InputError:
            continue
    return result


def picture(path: Path) -> bytes:
    """An image file as a small JPEG, its shape kept.

    Raises:
        InputError: It can't be read.
    """
    image = Image.fromarray(np.ascontiguousarray(read_image(path)))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    for quality in _QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= MOST_BYTES:
            break
    return file.getvalue()
