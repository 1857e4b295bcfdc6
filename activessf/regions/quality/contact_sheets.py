"""Contact sheets: boxes cut out and set side by side at one scale, by size, by fill rate, at random, by reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from tqdm import tqdm

from activessf.data.images import read_image
from activessf.data.slide_files import open_slide
from activessf.manifests import BOX, write_table
from activessf.regions.quality.drawing import (
    GAP,
    INK,
    MOST_ENLARGED,
    UNREADABLE,
    Picture,
    dashed,
    edges,
    font,
    resized,
    with_strip,
    write_picture,
)
from activessf.regions.quality.results import Results

SHEETS = "contact_sheets.csv"
_SOFT = (93, 107, 122)
_CARD = (236, 240, 244)
_CELL = 116  # px, width and height of a crop on a contact sheet
_CAPTION = 32
_COLUMNS = 12


class Thumbnail(NamedTuple):
    """One cell of a contact sheet.

    Attributes:
        pixels: RGB, (H, W, 3); None: they can't be read.
        captions: Two short lines.
        box: x, y, width, height in these pixels, to be outlined as rejected; None: no outline.
    """

    pixels: Picture | None
    captions: tuple[str, str]
    box: tuple[int, int, int, int] | None = None


def draw_sheets(
    results: Results, regions_folder: Path, root: Path, output: Path, num_crops: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Draw the contact sheets and write which cell is which.

    Args:
        results: The tables of stage 1.
        regions_folder: Folder that the crops' paths are relative to.
        root: Folder that the slides' paths are relative to.
        output: Folder into which `contact_sheets/*.png` and `contact_sheets.csv` are written.
        num_crops: Boxes on a sheet, at least 1.
        rng: Draws the random ones.

    Returns:
        What the page says of each: `title`, `shown`, `total`, and `file` below `output` with `side`, the pixels of a
        slide that a cell shows, or None.
    """
    kept, rejected = _longest(results.regions), _longest(results.rejected)
    by_size = kept.sort_values(["longest", "image", "y", "x"], ignore_index=True)
    by_fill = kept.sort_values(["fill_rate", "image", "y", "x"], ignore_index=True)
    some = kept.iloc[rng.permutation(len(kept))[:num_crops]]
    # By turns from every reason, so that a rare one is seen too.
    mixed = rejected.iloc[rng.permutation(len(rejected))]
    turns = mixed.groupby("reason").cumcount().sort_values(kind="stable").index[:num_crops]
    mixed = mixed.loc[turns].sort_values(["reason", "longest", "image", "y", "x"])
    sheets = [
        ("by_size", "Kept, from the smallest to the largest", _spread(by_size, num_crops)),
        ("by_fill_rate", "Kept, from the emptiest to the fullest box", _spread(by_fill, num_crops)),
        ("random", "Kept, drawn at random", some),
        ("rejected", "Rejected, by reason and size, with what lies round the box", mixed),
    ]
    pages, cells = [], []
    for name, title, rows in tqdm(sheets, desc="contact sheets", unit="sheet", disable=None):
        total = len(rejected if name == "rejected" else kept)
        pages.append({"title": title, "shown": len(rows), "total": total, "file": None})
        cells.append(rows.assign(sheet=name, number=range(1, len(rows) + 1)))
        if rows.empty:
            continue
        side = _cell_side(rows["longest"])
        thumbnails = _windows(rows, root, side) if name == "rejected" else _crops(rows, regions_folder)
        pages[-1] |= {"file": f"contact_sheets/{name}.png", "side": side}
        write_picture(contact_sheet(thumbnails, side), output / f"contact_sheets/{name}.png")
    columns = ["sheet", "number", "image", *BOX, "fill_rate", "reason", "crop"]
    write_table(pd.concat(cells).reindex(columns=columns), output / SHEETS)
    return pages


def contact_sheet(thumbnails: Sequence[Thumbnail], side: int) -> Picture:
    """Crops in a grid, numbered from 1, all at the same scale; RGB, (H, W, 3).

    Args:
        thumbnails: At least one.
        side: Pixels of a slide that a cell of the grid is wide and high; of larger crops the middle is shown.
    """
    factor = min(_CELL / side, MOST_ENLARGED)
    columns = min(_COLUMNS, max(4, len(thumbnails)))
    rows = math.ceil(len(thumbnails) / columns)
    across, down = _CELL + GAP, _CELL + _CAPTION + GAP
    sheet = Image.new("RGB", (columns * across + GAP, rows * down + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for index, thumbnail in enumerate(thumbnails):
        x, y = GAP + index % columns * across, GAP + index // columns * down
        draw.rectangle((x, y, x + _CELL - 1, y + _CELL - 1), fill=_CARD)
        if thumbnail.pixels is None:
            draw.text((x + 8, y + _CELL // 2 - 7), "can't be read", fill=_SOFT, font=font(11))
        else:
            cell = _cell(thumbnail, side, factor)
            sheet.paste(cell, (x + (_CELL - cell.width) // 2, y + (_CELL - cell.height) // 2))
        draw.text((x, y + _CELL + 2), f"{index + 1}", fill=_SOFT, font=font(11))
        number = draw.textlength(f"{index + 1}  ", font=font(11))
        draw.text((x + number, y + _CELL + 2), thumbnail.captions[0], fill=INK, font=font(11))
        draw.text((x, y + _CELL + 16), thumbnail.captions[1], fill=INK, font=font(11))
    return with_strip(np.asarray(sheet), [], factor, None)


def _longest(boxes: pd.DataFrame) -> pd.DataFrame:
    return boxes.assign(longest=boxes[["width", "height"]].max(axis=1).astype(float))


def _spread(rows: pd.DataFrame, number: int) -> pd.DataFrame:
    """Rows evenly spread over a sorted table, its first and last among them."""
    return rows.iloc[np.linspace(0, len(rows) - 1, min(number, len(rows))).round().astype(int)]


def _cell_side(longest: pd.Series[Any]) -> int:
    """Pixels that a cell of a contact sheet shows: all of any box but the odd huge one."""
    return max(16, math.ceil(min(float(longest.max()), 1.5 * float(longest.quantile(0.9)))))


def _crops(rows: pd.DataFrame, folder: Path) -> list[Thumbnail]:
    thumbnails = []
    for row in rows.itertuples():
        try:
            pixels = read_image(folder / row.crop)
        except UNREADABLE:
            pixels = None
        thumbnails.append(Thumbnail(pixels, (f"{row.width}x{row.height}", f"fill {row.fill_rate:.2f}")))
    return thumbnails


def _windows(rows: pd.DataFrame, root: Path, side: int) -> list[Thumbnail]:
    """Pieces of the slides round the boxes, in the order of the rows; each slide is opened once."""
    captions = {row.Index: (f"{row.width}x{row.height}", row.reason) for row in rows.itertuples()}
    thumbnails = {index: Thumbnail(None, caption) for index, caption in captions.items()}
    for image, own in rows.groupby("image"):
        try:
            with open_slide(root / str(image)) as slide:
                for row in own.itertuples():
                    x = max(0, min(row.x + row.width // 2 - side // 2, slide.width - side))
                    y = max(0, min(row.y + row.height // 2 - side // 2, slide.height - side))
                    pixels = slide.read(x, y, min(side, slide.width - x), min(side, slide.height - y))
                    box = (row.x - x, row.y - y, row.width, row.height)
                    thumbnails[row.Index] = Thumbnail(pixels.copy(), captions[row.Index], box)
        except UNREADABLE:
            continue
    return [thumbnails[index] for index in rows.index]


def _cell(thumbnail: Thumbnail, side: int, factor: float) -> Image.Image:
    assert thumbnail.pixels is not None
    height, width = thumbnail.pixels.shape[:2]
    left, top = max(0, (width - side) // 2), max(0, (height - side) // 2)
    picture = resized(np.ascontiguousarray(thumbnail.pixels[top : top + side, left : left + side]), factor)
    image = Image.fromarray(picture[:_CELL, :_CELL])
    if thumbnail.box is not None:
        x, y, *size = thumbnail.box
        dashed(ImageDraw.Draw(image), edges((x - left, y - top, *size), factor), width=2)
    return image
