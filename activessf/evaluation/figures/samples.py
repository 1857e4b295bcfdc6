"""Sample crops of every class, from the labeled cells that runs were trained and tested on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from activessf.data.images import read_image
from activessf.regions.quality.drawing import UNREADABLE, Picture, resized

_SIDE = 160  # px, the most that is kept of a crop


def draw_samples(cells: pd.DataFrame, folder: Path, number: int, rng: np.random.Generator) -> dict[str, list[Picture]]:
    """Crops of some cells of each class, drawn at random, by turns from its groups, or images where there are none.

    Args:
        cells: Columns label, group, image, crop.
        folder: Folder that crops are relative to.
        number: How many of each class, if there are so many that can be read.
        rng: Draws them.

    Returns:
        By class; RGB, (H, W, 3), no side longer than 160 pixels.
    """
    shuffled = cells.iloc[rng.permutation(len(cells))]
    samples = {}
    for name, members in shuffled.groupby("label"):
        source = members["group"].where(members["group"] != "", members["image"])
        turns = members.groupby(source).cumcount().sort_values(kind="stable").index
        samples[str(name)] = _readable(members.loc[turns, "crop"], folder, number)
    return samples


def _readable(crops: Iterable[str], folder: Path, number: int) -> list[Picture]:
    pictures: list[Picture] = []
    for crop in crops:
        if len(pictures) == number:
            break
        try:
            pixels = read_image(folder / crop)
        except UNREADABLE:
            continue
        pictures.append(resized(pixels, min(1.0, _SIDE / max(pixels.shape[:2]))))
    return pictures
