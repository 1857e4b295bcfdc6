from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from activessf.selection.audit.decided import Decided, read_decided

BOX = ["x", "y", "width", "height"]
# Per candidate: image, left edge, width, prototype, distance, selected. All are 10 px high and start at y = 0.
# What they show, by hand: a, b, nothing, an a and a b, (no labels in the image), b.
CANDIDATES = [
    ("s1.png", 0, 10, 0, 0.5, 1),
    ("s1.png", 20, 10, 0, 1.0, 1),
    ("s1.png", 40, 10, 0, 1.5, 0),
    ("s2.png", 0, 30, 1, 2.5, 1),
    ("s3.png", 0, 10, 1, 3.0, 1),
    ("s2.png", 50, 10, 1, 3.5, 0),
]
CELLS = pd.DataFrame(
    [
        ("s1.png", 0, 0, 10, 10, "a"),
        ("s1.png", 20, 0, 10, 10, "b"),
        ("s2.png", 2, 2, 6, 6, "a"),
        ("s2.png", 22, 2, 6, 6, "b"),
        ("s2.png", 50, 0, 10, 10, "b"),
        ("s4.png", 0, 0, 10, 10, "a"),
    ],
    columns=["image", *BOX, "label"],
)
MORE_TRUTH = pd.concat([CELLS, pd.DataFrame([("s3.png", 0, 0, 10, 10, "debris")], columns=CELLS.columns)])


REGIONS = pd.DataFrame(
    [(image, x, 0, width, 10, 0.8, 80, f"crops/{n}.png") for n, (image, x, width, *_) in enumerate(CANDIDATES)],
    columns=["image", *BOX, "fill_rate", "area", "crop"],
)
THRESHOLDS = 1.0, 3.0
PROTOTYPES = [(0, 4, 0.5, 2.0, 1.0, 3, 2, 0.75, 3, 1), (1, 2, 1.0, 4.0, 3.0, 3, 2, 1.0, 0, 2)]
COLUMNS = ["prototype", "size", "lower", "upper", "threshold", "candidates", "selected", "purity"]


class Case:
    """The small selection above, in a folder, with the variations that tests need."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.regions, self.cells, self.more_truth = folder, REGIONS, CELLS, MORE_TRUTH
        (folder / "crops").mkdir(parents=True)
        for number, width in enumerate(REGIONS["width"]):
            pixels = np.full((10, width, 3), (40 * number, 200, 40), np.uint8)
            Image.fromarray(pixels).save(folder / "crops" / f"{number}.png")

    def write(self, names: Sequence[str] = ("a", "b"), kept: Sequence[int] | None = None, bare: bool = False) -> None:
        selection = pd.DataFrame(
            [
                (f"crops/{n}.png", prototype, distance, THRESHOLDS[prototype], selected)
                for n, (*_, prototype, distance, selected) in enumerate(CANDIDATES)
            ],
            columns=["crop", "prototype", "distance", "threshold", "selected"],
        )
        if kept is not None:
            selection["selected"] = list(kept)
        if bare:
            selection = selection.assign(prototype=-1, distance=np.nan, threshold=np.nan)
        table = pd.DataFrame([] if bare else PROTOTYPES, columns=[*COLUMNS, *(f"_{name}" for name in names)])
        table.columns = [*COLUMNS, *names]
        selection.to_csv(self.folder / "selection.csv", index=False)
        table.to_csv(self.folder / "prototypes.csv", index=False)

    def decided(self, truth: pd.DataFrame | None = None, names: Sequence[str] = ("a", "b"), **changes: Any) -> Decided:
        self.write(names, **changes)
        renamed = {"a": names[0], "b": names[1]}
        cells = self.cells.replace({"label": renamed})
        known = None if truth is None else truth.replace({"label": renamed})
        return read_decided(self.folder, self.regions, cells, known, list(names), [names[1]])


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "result")
