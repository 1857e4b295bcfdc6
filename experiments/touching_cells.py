"""What taking touching cells apart gains: the same presets without and with `split_touching`.

    python experiments/touching_cells.py --bccd ../shared/data/bccd --chula ../shared/data/chula_rbc12

For BCCD: white cells found at an overlap of 0.5, and regions that are none, with the presets `paper` and `white_cells`.
For Chula RBC-12, with `red_cells`: centre points that are the only ones in a region, points in any region, and regions.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from activessf.configuration import build, region_settings
from activessf.data.images import read_image
from activessf.interchange.voc import read_voc_file
from activessf.regions.filtering import RegionFilter
from activessf.regions.matching import agreement, corners, match_boxes


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bccd", type=Path, required=True, help="folder of BCCD")
    parser.add_argument("--chula", type=Path, required=True, help="folder of Chula RBC-12")
    parser.add_argument("--fields", type=int, default=100, help="of each set, spread evenly (default 100)")
    options = parser.parse_args()
    print("| BCCD | split_touching | white cells | found | regions | right |\n|---|---|---|---|---|---|")
    for preset in ("paper", "white_cells"):
        for name, region_filter in without_and_with(preset):
            print(f"| {preset} | {name} |{white_cells(region_filter, options.bccd, options.fields)}")
    print("\n| Chula | split_touching | points | alone in a region | in any | regions |\n|---|---|---|---|---|---|")
    for name, region_filter in without_and_with("red_cells"):
        print(f"| red_cells | {name} |{red_cells(region_filter, options.chula, options.fields)}")


def without_and_with(preset: str) -> Iterator[tuple[str, RegionFilter]]:
    """The preset as it is, and with touching cells taken apart."""
    region_filter: RegionFilter = build(region_settings(preset))
    for split in (False, True):
        yield str(split).lower(), replace(region_filter, split_touching=split)


def white_cells(region_filter: RegionFilter, root: Path, fields: int) -> str:
    """A row of the first table."""
    matches = []
    for path in tqdm(spread(sorted((root / "Annotations").glob("*.xml")), fields), "BCCD"):
        cells = read_voc_file(path)
        boxes = np.array(
            [[row[side] for side in ("x", "y", "width", "height")] for row in cells if row["label"] == "WBC"]
        )
        image = read_image(root / "JPEGImages" / f"{path.stem}.jpg")
        matches.append(match_boxes(boxes.reshape(-1, 4).astype(float), region_filter(image)))
    own = agreement(matches)
    return f" {own.labels} | {own.found} | {own.regions} | {own.right} |"


def red_cells(region_filter: RegionFilter, root: Path, fields: int) -> str:
    """A row of the second table."""
    total = alone = covered = count = 0
    for path in tqdm(spread(sorted((root / "labels").glob("*.txt")), fields), "Chula"):
        points = np.loadtxt(path, ndmin=2)[:, :2]
        regions = region_filter(read_image(root / "images" / f"{path.stem}.jpg"))
        x, y, width, height = corners(regions).T[..., None]
        inside = (x <= points[:, 0]) & (points[:, 0] < x + width) & (y <= points[:, 1]) & (points[:, 1] < y + height)
        total, count = total + len(points), count + len(regions)
        covered += int(inside.any(axis=0).sum())
        alone += int(inside[inside.sum(axis=1) == 1].any(axis=0).sum())
    return f" {total} | {alone} ({alone / total:.1%}) | {covered} ({covered / total:.1%}) | {count} |"


def spread(paths: list[Path], count: int) -> list[Path]:
    """At most so many of the paths, evenly."""
    return [paths[index] for index in np.unique(np.linspace(0, len(paths) - 1, count).round().astype(int))]


if __name__ == "__main__":
    main()
