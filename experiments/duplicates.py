"""How near duplicates are told from cells that only look alike: pairs of cells by two bounds, and planted copies.

    python experiments/duplicates.py data=bccd data.root=../shared/data/bccd
    python experiments/duplicates.py data=chula_rbc12 data.root=../shared/data/chula_rbc12
    python experiments/duplicates.py data=demo

Prints how many pairs lie within each number of bits of the hash and above each correlation of the fine structure, and
how many of 500 cells are found again in a copy that was saved anew, scaled, shifted or turned. The closest pairs are
drawn into `pairs.png` below `paths.output_dir`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray

from activessf.cli.spelling import canonical
from activessf.configuration import CONF
from activessf.data.cells import CELLS_FILE
from activessf.data.images import read_image, write_png
from activessf.data.near_duplicates import LEAST_CORRELATION, MOST_BITS, Pictures, read_pictures, similar_pairs
from activessf.manifests import read_table
from activessf.preparation import Preparation

Image = NDArray[np.uint8]

BITS = (4, 8, 12)
CORRELATIONS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SAMPLE, DRAWN = 500, 36


def main() -> None:
    """Print the tables for the data that the command line names."""
    os.environ["ACTIVESSF_ROOT"] = str(CONF.parent)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        prepared = Preparation(compose("config", canonical(["recipe=quick", *sys.argv[1:]])))
    folder = prepared.cells.obtain()
    cells = read_table(folder / CELLS_FILE, ["crop", "image", "label"])
    pairs, seconds = pairs_of(folder, list(cells["crop"]), max(BITS), min(CORRELATIONS))
    images = cells["image"].to_numpy()
    pairs["other_image"] = images[pairs["first"]] != images[pairs["second"]]
    print(f"\n{len(cells)} cells of {prepared.config.data.name}, {seconds:.1f} s")
    print("| hashes differ in at most | " + " | ".join(f"r >= {bound:g}" for bound in CORRELATIONS) + " |")
    print("|---" * (len(CORRELATIONS) + 1) + "|")
    for bits in BITS:
        near = pairs[pairs["bits"] <= bits]
        counts = [near[near["correlation"] >= bound] for bound in CORRELATIONS]
        told = " | ".join(f"{len(some)} ({int(some['other_image'].sum())})" for some in counts)
        print(f"| {bits} bits | {told} |")
    print("Pairs of cells, in brackets those of different images.\n")
    planted(folder, cells["crop"])
    draw(folder, cells, pairs[pairs["bits"] <= MOST_BITS], prepared.output_dir / "pairs.png")


def pairs_of(folder: Path, crops: list[str], most_bits: int, least: float) -> tuple[pd.DataFrame, float]:
    """All pairs within the bounds, each once with its best orientation, and the seconds that it took."""
    started = time.monotonic()
    parts = list(similar_pairs(read_pictures(folder, crops, 1), most_bits, least))
    columns = ("first", "second", "bits", "correlation")
    table = pd.DataFrame(
        {name: np.concatenate(part) for name, part in zip(columns, zip(*parts, strict=True), strict=True)}
    )
    table = table.sort_values("correlation", ascending=False).drop_duplicates(["first", "second"])
    return table, time.monotonic() - started


def changes() -> dict[str, Callable[[Image], Image]]:
    """Ways in which a copy may differ."""

    def jpeg(quality: int) -> Callable[[Image], Image]:
        def saved(image: Image) -> Image:
            data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)

        return saved

    def scaled(factor: float) -> Callable[[Image], Image]:
        return lambda image: np.asarray(
            cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8
        )

    return {
        "JPEG, quality 90": jpeg(90),
        "JPEG, quality 50": jpeg(50),
        "scaled by 0.7": scaled(0.7),
        "scaled by 1.5": scaled(1.5),
        "cut 1 pixel smaller": lambda image: image[1:, 1:],
        "cut 2 pixels smaller": lambda image: image[2:, 2:],
        "cut 4 pixels smaller": lambda image: image[4:, 4:],
        "turned, JPEG 90": lambda image: jpeg(90)(np.ascontiguousarray(np.rot90(image))),
        "blurred, sigma 1": lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 1.0), np.uint8),
        "contrast 0.8, brightness + 20": lambda image: np.clip(image * 0.8 + 20, 0, 255).astype(np.uint8),
    }


def planted(folder: Path, crops: pd.Series[str]) -> None:
    """Print how many of some cells are found in their changed copies, and what bits and correlations these have."""
    chosen = crops.sample(min(SAMPLE, len(crops)), random_state=0)
    print("| copy | found | bits, median and 99 % | correlation, median and 1 % |\n|---|---|---|---|")
    for name, change in changes().items():
        with tempfile.TemporaryDirectory() as scratch:
            own, copies = [], []
            for number, crop in enumerate(chosen):
                image = read_image(folder / crop)
                for kind, names, shown in (("a", own, image), ("b", copies, change(image))):
                    names.append(f"{kind}{number}.png")
                    write_png(np.ascontiguousarray(shown), Path(scratch) / names[-1])
            pictures = read_pictures(Path(scratch), [*own, *copies], 1)
        nearest = pd.DataFrame([best(pictures, row, row + len(own)) for row in range(len(own))])
        bits, correlation = nearest["bits"], nearest["correlation"]
        found = ((bits <= MOST_BITS) & (correlation >= LEAST_CORRELATION)).sum()
        print(
            f"| {name} | {found} of {len(own)} | {bits.median():.0f}, {bits.quantile(0.99):.0f} "
            f"| {correlation.median():.3f}, {correlation.quantile(0.01):.3f} |"
        )


def best(pictures: Pictures, row: int, other: int) -> dict[str, float]:
    """Bits and correlation of two of the pictures, as they fit best."""
    rows = [row, other]
    contents = tuple(pictures.contents[index] for index in rows)
    two = Pictures(contents, pictures.frequencies[rows], pictures.details[rows])
    parts = list(similar_pairs(two, 63, -1.0))
    bits, correlation = (np.concatenate([part[column] for part in parts]) for column in (2, 3))
    chosen = int(correlation.argmax())
    return {"bits": int(bits[chosen]), "correlation": float(correlation[chosen])}


def draw(folder: Path, cells: pd.DataFrame, pairs: pd.DataFrame, path: Path) -> None:
    """The pairs of different images whose fine structure is most alike, one above the other."""
    columns = []
    for pair in pairs[pairs["other_image"]].head(DRAWN).itertuples():
        two = [read_image(folder / cells["crop"][row]) for row in (pair.first, pair.second)]
        column = np.vstack([cv2.resize(image, (96, 96)) for image in two])
        cv2.putText(column, f"{pair.bits} {pair.correlation:.2f}", (2, 188), cv2.FONT_HERSHEY_PLAIN, 0.9, (0, 0, 0))
        columns.append(column)
    if columns:
        write_png(np.ascontiguousarray(np.hstack(columns)), path)
        print(f"\nThe closest pairs: {path}")


if __name__ == "__main__":
    main()
