import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from activessf.data.cells import cut_cells
from activessf.data.images import read_image
from activessf.data.source import make_source
from activessf.errors import InputError
from activessf.manifests import BOX, CELLS, FAILURES

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(PIXELS).save(folder / name)
    return folder


def table(root: Path, *rows: tuple[object, ...]) -> pd.DataFrame:
    """Rows of image, label and, if there is one, a box; checked and filled as all sources do."""
    frame = pd.DataFrame([(*row, *[None] * (6 - len(row))) for row in rows], columns=["image", "label", *BOX])
    classes = sorted({*frame["label"], "x", "y"})
    for name in set(classes) - set(frame["label"]):
        frame.loc[len(frame)] = ["c.png", name, 0, 0, 1, 1]
    return make_source(root, frame, [], classes).cells


def cut(root: Path, cells: pd.DataFrame, output: Path, num_workers: int = 0) -> pd.DataFrame:
    output.mkdir()
    cut_cells(root, cells, output, num_workers)
    return pd.read_csv(output / "cells.csv", keep_default_na=False)


def test_crops_are_the_pixels_of_their_boxes(root: Path, tmp_path: Path) -> None:
    cells = table(root, ("b.png", "x", 3, 4, 5, 6), ("a.png", "y", 0, 0, 30, 20), ("b.png", "y", 29, 19, 1, 1))
    found = cut(root, cells, tmp_path / "out")
    assert list(found.columns) == [*CELLS, "crop"]
    assert found[["image", "label", *BOX, "crop"]].to_numpy().tolist() == [
        ["a.png", "y", 0, 0, 30, 20, "crops/000000.png"],
        ["b.png", "x", 3, 4, 5, 6, "crops/000001.png"],
        ["b.png", "y", 29, 19, 1, 1, "crops/000002.png"],
    ]
    for x, y, width, height, name in found[[*BOX, "crop"]].itertuples(index=False):
        np.testing.assert_array_equal(read_image(tmp_path / "out" / name), PIXELS[y : y + height, x : x + width])
    assert (tmp_path / "out/failures.csv").read_text() == ",".join(FAILURES) + "\n"


def test_whole_images_get_their_size(root: Path, tmp_path: Path) -> None:
    Image.fromarray(PIXELS[:7, :11]).save(root / "a.png")
    found = cut(root, table(root, ("a.png", "x"), ("b.png", "y")), tmp_path / "out")
    assert found[list(BOX)].to_numpy().tolist() == [[0, 0, 11, 7], [0, 0, 30, 20]]
    np.testing.assert_array_equal(read_image(tmp_path / "out/crops/000000.png"), PIXELS[:7, :11])


def test_the_result_depends_neither_on_the_order_of_rows_nor_on_the_number_of_workers(
    root: Path, tmp_path: Path
) -> None:
    rows = [(f"{'abc'[n % 3]}.png", "xy"[n % 2], n, 19 - n, 1 + n % 3, 1) for n in range(18)]
    cut(root, table(root, *rows), tmp_path / "one", 1)
    cut(root, table(root, *reversed(rows)), tmp_path / "four", 4)
    names = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(names) == 20
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "four" / name).read_bytes()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_boxes_of_a_rotated_image_are_in_its_upright_orientation(
    root: Path, tmp_path: Path, suffix: str, orientation: int
) -> None:
    """A camera stored the picture turned; seen upright, its red quarter is at the bottom left."""
    upright = np.zeros((32, 16, 3), np.uint8)
    upright[16:, :8] = (255, 0, 0)
    turns = {1: 0, 3: 2, 6: 1, 8: 3}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.rot90(upright, turns)).save(root / f"turned.{suffix}", exif=exif, quality=95, subsampling=0)
    cells = table(root, (f"turned.{suffix}", "x", 0, 16, 8, 16), ("a.png", "y"))
    cut(root, cells, tmp_path / "out")
    crop = read_image(tmp_path / "out/crops/000001.png")
    assert crop.shape == (16, 8, 3)
    np.testing.assert_allclose(crop, np.broadcast_to((255, 0, 0), crop.shape), atol=6)


def test_the_whole_of_a_rotated_image_has_its_upright_size(root: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(root / "turned.png", exif=exif)
    found = cut(root, table(root, ("turned.png", "x"), ("a.png", "y")), tmp_path / "out")
    assert found[list(BOX)].to_numpy().tolist() == [[0, 0, 30, 20], [0, 0, 20, 30]]


@pytest.mark.parametrize(
    "box", [(-1, 0, 5, 5), (0, -1, 5, 5), (26, 0, 5, 5), (0, 16, 5, 5), (0, 0, 0, 5), (0, 0, 5, -2), (40, 40, 5, 5)]
)
def test_a_box_outside_its_image_is_named(root: Path, tmp_path: Path, box: tuple[int, int, int, int]) -> None:
    words = "The box x={}, y={}, width={}, height={} of a cell (x) lies outside its image b.png of 30x20 pixels"
    with pytest.raises(InputError, match=re.escape(words.format(*box))):
        cut(root, table(root, ("b.png", "x", *box), ("a.png", "y")), tmp_path / "out")


def test_a_fractional_box_inside_its_image_stays_inside(root: Path, tmp_path: Path) -> None:
    """Boxes in quarters of a pixel: half ones are where rounding sizes and not edges would go wrong."""
    quarters = np.arange(8) / 4
    spans = [(start, size) for start in [*quarters, *(18 - quarters)] for size in 1 + quarters if start + size <= 20]
    boxes = np.array([(x, x / 2, width, width) for x, width in spans])
    found = cut(root, table(root, *(("a.png", "x", *box) for box in boxes), ("b.png", "y")), tmp_path / "out")
    rounded = found.loc[found["image"] == "a.png", list(BOX)].to_numpy(float)
    assert len(rounded) == len(boxes) > 60
    boxes = np.array(sorted(boxes.tolist()))
    for ours, exact in ((rounded[:, :2], boxes[:, :2]), (rounded[:, :2] + rounded[:, 2:], boxes[:, :2] + boxes[:, 2:])):
        assert np.abs(ours - exact).max() <= 0.5
    whole = boxes[:, 2] % 1 == 0
    assert (rounded[whole, 2:] == boxes[whole, 2:]).all() and (rounded[:, 2:] >= 1).all()


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty"])
def test_a_broken_image_is_left_out_and_the_rest_kept(root: Path, tmp_path: Path, suffix: str, damage: str) -> None:
    path = root / f"bad.{suffix}"
    Image.fromarray(np.tile(PIXELS, (4, 4, 1))).save(path)
    data = path.read_bytes()
    path.write_bytes({"truncated": data[: len(data) // 2], "foreign": b"no image at all", "empty": b""}[damage])
    cells = table(root, (path.name, "x", 0, 0, 5, 5), (path.name, "y", 5, 5, 5, 5), ("a.png", "x"), ("b.png", "y"))
    with pytest.warns(UserWarning, match=r"^2 labeled cells are left out, since 1 image\(s\) can't be read") as caught:
        found = cut(root, cells, tmp_path / "out")
    assert path.name in str(caught[0].message)
    assert found["image"].tolist() == ["a.png", "b.png"]
    assert all((tmp_path / "out" / name).is_file() for name in found["crop"])
    failures = pd.read_csv(tmp_path / "out/failures.csv")
    assert failures["image"].tolist() == [path.name] and path.name in failures["reason"][0]


def test_good_images_give_no_warning(root: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cut(root, table(root, ("a.png", "x"), ("b.png", "y")), tmp_path / "out")


def test_no_readable_image_at_all_is_an_error(root: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (root / name).write_bytes(b"broken")
    cells = table(root, ("a.png", "x"), ("b.png", "y"))
    with pytest.raises(InputError, match=r"None of the 2 images with labeled cells can be read: .*a\.png"):
        cut(root, cells, tmp_path / "out")
    assert not (tmp_path / "out/cells.csv").exists()


def test_names_that_look_like_numbers_survive_the_file(root: Path, tmp_path: Path) -> None:
    cells = table(root, ("a.png", "007"), ("b.png", "NA"), ("c.png", "x"), ("a.png", "y", 1, 1, 2, 2))
    cut(root, cells.assign(group=["01", "02", "NA", "01"]), tmp_path / "out")
    found = pd.read_csv(tmp_path / "out/cells.csv", dtype=str, keep_default_na=False).set_index("crop")
    assert sorted(zip(found["label"], found["group"], strict=True)) == [
        ("007", "01"), ("NA", "02"), ("x", "NA"), ("y", "01"),
    ]  # fmt: skip


@pytest.mark.data
def test_chula_cells_are_centred_on_their_points(chula: Path, tmp_path: Path) -> None:
    """Ten labels of one field against slices of the decoded file."""
    label_file = sorted((chula / "labels").glob("*.txt"))[0]
    image = f"images/{label_file.stem}.jpg"
    points = [tuple(map(int, line.split())) for line in label_file.read_text().splitlines()]
    inner = [(x, y, kind) for x, y, kind in points if 40 <= x <= 600 and 40 <= y <= 440][:10]
    rows = [(image, f"type {kind}", x - 40, y - 40, 80, 80) for x, y, kind in inner]
    frame = pd.DataFrame(rows, columns=["image", "label", *BOX]).assign(group="", split="")
    found = cut(chula, frame, tmp_path / "out")
    pixels = np.asarray(Image.open(chula / image).convert("RGB"))
    assert len(found) == len(inner) >= 5
    for x, y, name in found[["x", "y", "crop"]].itertuples(index=False):
        np.testing.assert_array_equal(read_image(tmp_path / "out" / name), pixels[y : y + 80, x : x + 80])


def test_cells_are_cut_from_whole_slides_by_their_boxes(root: Path, tmp_path: Path) -> None:
    plane = RNG.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    tifffile.imwrite(root / "whole.svs", plane, tile=(128, 128), photometric="rgb")
    found = cut(root, table(root, ("whole.svs", "x", 120, 40, 30, 20), ("a.png", "y")), tmp_path / "out")
    crop = dict(zip(found["image"], found["crop"], strict=True))["whole.svs"]
    np.testing.assert_array_equal(read_image(tmp_path / "out" / crop), plane[40:60, 120:150])


def test_a_whole_slide_is_no_cell(root: Path, tmp_path: Path) -> None:
    tifffile.imwrite(root / "whole.svs", np.zeros((300, 400, 3), np.uint8), tile=(128, 128), photometric="rgb")
    with pytest.raises(InputError, match="whole.svs is a whole slide of 400x300 pixels, and no one cell"):
        cut(root, table(root, ("whole.svs", "x"), ("a.png", "y")), tmp_path / "out")
