"""Contact sheets of the prototypes: candidates in order of distance, with the threshold drawn as a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tqdm import tqdm

from activessf.data.images import read_image
from activessf.manifests import BOX, write_table
from activessf.regions.quality.contact_sheets import Thumbnail, contact_sheet
from activessf.regions.quality.drawing import INK, UNREADABLE, Picture, font, write_picture
from activessf.selection.audit.decided import Decided
from activessf.selection.audit.truth import NOT_A_LABEL

SHEETS = "contact_sheets.csv"
_BAR = 26  # px, height of the line between within and beyond
_COLUMNS = ["prototype", "part", "number", "crop", "image", *BOX, "distance", "threshold", "kept", "truth"]


def draw_sheets(
    decided: Decided, prototypes: pd.DataFrame, regions_folder: Path, output: Path, num_crops: int
) -> dict[int, dict[str, Any]]:
    """Draw a sheet a prototype into `output/prototypes/*.png`, and write which cell is which to `contact_sheets.csv`.

    Half of a sheet shows candidates within the threshold, half those beyond it, each evenly spread over the order of
    distance, the nearest and the farthest among them; what is dropped has a broken outline.

    Args:
        decided: The decision.
        prototypes: The rows of `decided.prototypes` to draw.
        regions_folder: Folder that the crops' paths are relative to.
        output: An existing folder.
        num_crops: Crops on a sheet, at least 2.

    Returns:
        By prototype: `file` below `output`, and `side`, the pixels that a cell shows; none for one without candidates.
    """
    nearest, distance = (decided.candidates[name].to_numpy() for name in ("prototype", "distance"))
    sheets, cells = {}, [pd.DataFrame(columns=_COLUMNS)]
    rows = zip(prototypes["prototype"].astype(int), prototypes["threshold"].astype(float), strict=True)
    for prototype, threshold in tqdm(list(rows), desc="Contact sheets", unit="sheet", disable=None):
        own = np.flatnonzero(nearest == prototype)
        own = own[np.argsort(distance[own], kind="stable")]
        if not len(own):
            continue
        inside = int(np.searchsorted(distance[own], threshold, side="right"))
        parts = {"within": _spread(own[:inside], num_crops // 2), "beyond": _spread(own[inside:], num_crops // 2)}
        tables = {name: decided.candidates.iloc[chosen] for name, chosen in parts.items()}
        longest = pd.concat(list(tables.values()))[["width", "height"]].max(axis=1)
        side = max(16, int(longest.quantile(0.9)))
        text = f"threshold {threshold:.4g}: {inside:,} nearer, {len(own) - inside:,} farther"
        pictures = [_sheet(table, regions_folder, side) for table in tables.values()]
        file = f"prototypes/{prototype:03d}.png"
        write_picture(stacked(pictures[0], text, pictures[1]), output / file)
        sheets[prototype] = {"file": file, "side": side}
        cells += [table.assign(part=name, number=range(1, len(table) + 1)) for name, table in tables.items()]
    write_table(pd.concat([part for part in cells if len(part)] or cells)[_COLUMNS], output / SHEETS)
    return sheets


def stacked(above: Picture | None, text: str, below: Picture | None) -> Picture:
    """Two pictures of any width, one on the other, with a dark bar between them that bears a text."""
    shown = [picture for picture in (above, below) if picture is not None]
    width = max(640, *(picture.shape[1] for picture in shown))
    whole = Image.new("RGB", (width, _BAR + sum(picture.shape[0] for picture in shown)), "white")
    top = 0
    if above is not None:
        whole.paste(Image.fromarray(above), (0, 0))
        top = above.shape[0]
    draw = ImageDraw.Draw(whole)
    draw.rectangle((0, top + 2, width, top + _BAR - 3), fill=INK)
    draw.text((10, top + 4), text, fill="white", font=font(14))
    if below is not None:
        whole.paste(Image.fromarray(below), (0, top + _BAR))
    return np.asarray(whole)


def _spread(rows: NDArray[np.intp], number: int) -> NDArray[np.intp]:
    """Rows evenly spread over a sorted list, its first and last among them."""
    return np.asarray(rows[np.linspace(0, len(rows) - 1, min(number, len(rows))).round().astype(int)])


def _sheet(rows: pd.DataFrame, folder: Path, side: int) -> Picture | None:
    return contact_sheet([_thumbnail(row, folder) for row in rows.itertuples()], side) if len(rows) else None


def _thumbnail(row: Any, folder: Path) -> Thumbnail:
    second = "" if row.truth in NOT_A_LABEL else str(row.truth)
    captions = f"{row.distance:.4g}", second if len(second) <= 16 else f"{second[:15]}..."
    try:
        pixels = read_image(folder / row.crop)
    except UNREADABLE:
        return Thumbnail(None, captions)
    return Thumbnail(pixels, captions, None if row.kept else (0, 0, pixels.shape[1], pixels.shape[0]))
