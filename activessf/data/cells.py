"""The labeled cells cut out of their images, once, so that training reads small files only."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from activessf.data.images import write_png
from activessf.data.slide_files import Slide, open_slide
from activessf.errors import InputError
from activessf.manifests import BOX, FAILURES, write_table

CELLS_FILE = "cells.csv"
FAILURES_FILE = "failures.csv"


def cut_cells(root: Path, cells: pd.DataFrame, output: Path, num_workers: int) -> None:
    """Write `cells.csv` (the given columns, boxes filled in, and crop), `crops/` and `failures.csv` into `output`.

    Cells of an image that can't be read are left out with a warning and stand in failures.csv.

    Args:
        root: Folder that image paths are relative to.
        cells: Columns `manifests.CELLS`; a box of NaN means the whole image.
        output: An empty folder. Crops are RGB PNG files, paths in the table relative to it.
        num_workers: Threads; the result does not depend on it.

    Raises:
        InputError: A box lies outside its image, or no image can be read.
    """
    (output / "crops").mkdir()
    cells = cells.sort_values(["image", *BOX, "label"], kind="stable").reset_index(drop=True)
    cells["crop"] = [f"crops/{number:06d}.png" for number in range(len(cells))]
    images = [part for _, part in cells.groupby("image", sort=True)]
    with ThreadPoolExecutor(max(1, num_workers)) as pool:
        results = list(
            tqdm(
                pool.map(lambda part: _cut(root, part, output), images),
                total=len(images),
                desc="Cutting out labeled cells",
                unit="image",
            )
        )
    failures = [result for result in results if isinstance(result, dict)]
    whole = [result for result in results if isinstance(result, pd.DataFrame)]
    if not whole:
        raise InputError(f"None of the {len(images)} images with labeled cells can be read: {failures[0]['reason']}")
    if failures:
        warnings.warn(
            f"{len(cells) - sum(map(len, whole))} labeled cells are left out, since {len(failures)} image(s) can't be "
            f"read; the first: {failures[0]['reason']}",
            stacklevel=2,
        )
    write_table(pd.concat(whole, ignore_index=True), output / CELLS_FILE)
    write_table(pd.DataFrame(failures, columns=list(FAILURES)), output / FAILURES_FILE)


def _cut(root: Path, part: pd.DataFrame, output: Path) -> pd.DataFrame | dict[str, str]:
    name = str(part["image"].iloc[0])
    try:
        with open_slide(root / name) as slide:
            return _cut_from(slide, name, part, output)
    except _WrongBox:
        raise
    except InputError as error:
        return {"image": name, "reason": str(error)}


class _WrongBox(InputError):
    """The label is wrong, not the image."""


def _cut_from(slide: Slide, name: str, part: pd.DataFrame, output: Path) -> pd.DataFrame:
    width, height = slide.width, slide.height
    if not slide.in_memory and part["x"].isna().any():
        raise _WrongBox(f"{name} is a whole slide of {width}x{height} pixels, and no one cell; give cells in it boxes.")
    part = _in_whole_pixels(part, width, height)
    for row in part.itertuples():
        left, top, right, bottom = row.x, row.y, row.x + row.width, row.y + row.height
        if left < 0 or top < 0 or row.width < 1 or row.height < 1 or right > width or bottom > height:
            raise _WrongBox(
                f"The box x={left}, y={top}, width={row.width}, height={row.height} of a cell ({row.label}) lies "
                f"outside its image {name} of {width}x{height} pixels; correct the box."
            )
        write_png(slide.read(row.x, row.y, row.width, row.height), output / row.crop)
    return part


def _in_whole_pixels(part: pd.DataFrame, width: int, height: int) -> pd.DataFrame:
    boxes = part[list(BOX)].fillna({"x": 0, "y": 0, "width": width, "height": height})
    # Edges are rounded, not sizes, so that a box inside its image stays inside; halves go up, so that a whole width
    # stays as it is.
    left, top = np.floor(boxes["x"] + 0.5), np.floor(boxes["y"] + 0.5)
    right, bottom = np.floor(boxes["x"] + boxes["width"] + 0.5), np.floor(boxes["y"] + boxes["height"] + 0.5)
    rounded = part.assign(x=left, y=top, width=right - left, height=bottom - top)
    return rounded.astype(dict.fromkeys(BOX, int))
