"""What the presets find on public smears; `pytest -m data -s tests/regions/test_presets.py` prints the figures."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from activessf.data.images import read_image
from activessf.regions.filtering import RegionFilter

CONF = Path(__file__).resolve().parents[2] / "conf"


def preset(name: str, *overrides: str) -> RegionFilter:
    with initialize_config_dir(str(CONF), version_base=None):
        region_filter = instantiate(compose(f"regions/{name}", list(overrides)).regions)
    assert isinstance(region_filter, RegionFilter)
    return region_filter


def white_cells(root: Path) -> Iterator[tuple[np.ndarray, list[tuple[int, ...]]]]:
    """The first hundred fields with the corners of their white cells."""
    for path in sorted((root / "Annotations").glob("*.xml"))[:100]:
        cells = [cell for cell in ElementTree.parse(path).iter("object") if cell.findtext("name") == "WBC"]
        corners = ("xmin", "ymin", "xmax", "ymax")
        boxes = [tuple(int(str(cell.findtext(f"bndbox/{corner}"))) for corner in corners) for cell in cells]
        yield read_image(root / "JPEGImages" / f"{path.stem}.jpg"), boxes


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Intersection over union of two boxes given by their corners."""
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def found_false_and_all(region_filter: RegionFilter, root: Path) -> tuple[int, int, int]:
    found = false = total = 0
    for image, cells in white_cells(root):
        total += len(cells)
        for region in region_filter(image):
            box = (region.x, region.y, region.x + region.width, region.y + region.height)
            match = max(cells, key=lambda cell: overlap(box, cell), default=box)
            if cells and overlap(box, match) >= 0.3:
                cells.remove(match)
                found += 1
            else:
                false += 1
    print(f"\n{found} of {total} white cells found, {false} false boxes")
    return found, false, total


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "regions").glob("*.yaml")))
def test_every_preset_instantiates_with_plain_lists(name: str) -> None:
    region_filter = preset(name)
    assert type(region_filter.stain_ranges) is list and type(region_filter.stain_ranges[0]["hue"]) is list


def test_a_value_of_a_preset_can_be_overridden() -> None:
    assert preset("white_cells", "regions.min_size=50").min_size == 50
    assert preset("red_cells", "regions.stain_ranges=[{name: a, hue: [1, 2], saturation: [3, 4], value: [5, 6]}]")


@pytest.mark.data
def test_the_paper_preset_finds_two_in_five_white_cells_and_nothing_else(bccd: Path) -> None:
    found, false, total = found_false_and_all(preset("paper"), bccd)
    assert total == 107 and 35 <= found <= 60 and false <= 1


@pytest.mark.data
def test_the_white_cell_preset_finds_nearly_all(bccd: Path) -> None:
    found, false, total = found_false_and_all(preset("white_cells"), bccd)
    assert found / total >= 0.95 and found / (found + false) >= 0.9


@pytest.mark.data
def test_the_red_cell_preset_covers_most_centres(chula: Path) -> None:
    labels = sorted((chula / "labels").glob("*.txt"), key=lambda path: int(path.stem))
    covered = alone = total = 0
    region_filter = preset("red_cells")
    for path in labels[:: len(labels) // 40][:40]:
        points = np.loadtxt(path, ndmin=2)[:, :2]
        regions = region_filter(read_image(chula / "images" / f"{path.stem}.jpg"))
        inside = np.array(
            [[r.x <= x < r.x + r.width and r.y <= y < r.y + r.height for x, y in points] for r in regions]
        )
        covered += inside.any(axis=0).sum()
        alone += (inside.sum(axis=1) == 1).sum()
        total += len(points)
    print(f"\n{covered / total:.3f} of {total} centres in a region; {alone / total:.3f} alone in one")
    assert covered / total >= 0.85 and alone / total >= 0.7
