"""Stage results beside made-up runs, and a browser to read the report in."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chromium import CHROMIUM, Chromium
from PIL import Image

Colours = dict[tuple[str, float], tuple[int, int, int]]
CELLS = "demo-0123456789abcdef"


@pytest.fixture
def write_crops(tmp_path: Path) -> Callable[..., Colours]:
    """Writes the crops of a run's cells, each of its own colour, where the cells' stage would; gives the colours."""

    def write(run: Path, noise: int = 0, drop: int = 0) -> Colours:
        folder = tmp_path / "stages" / "cells" / CELLS
        (folder / "crops").mkdir(parents=True)
        read = {"image": str, "label": str}
        parts = [
            pd.read_csv(path, dtype=read, keep_default_na=False) for path in sorted(run.glob("fold_*/predictions.csv"))
        ]
        cells = pd.concat(parts, ignore_index=True)[["image", "x", "y", "width", "height", "label"]]
        rng = np.random.default_rng(0)
        colours: Colours = {}
        for number, row in enumerate(cells.itertuples()):
            colour = tuple(int(value) for value in rng.integers(30, 226, 3))
            colours[row.image, row.x] = colour
            pixels = (
                rng.integers(0, 256, (noise, noise, 3), np.uint8) if noise else np.full((40, 24, 3), colour, np.uint8)
            )
            if number >= drop:
                Image.fromarray(pixels).save(folder / "crops" / f"{number:06d}.png")
        cells["crop"] = [f"crops/{number:06d}.png" for number in range(len(cells))]
        cells.assign(group="", split="").to_csv(folder / "cells.csv", index=False)
        for path in run.parent.glob("*/fold_*/run.json"):
            details = json.loads(path.read_text())
            details["stages"] = {"cells": CELLS}
            path.write_text(json.dumps(details))
        return colours

    return write


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: the report is not seen in a browser")
    with Chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser
