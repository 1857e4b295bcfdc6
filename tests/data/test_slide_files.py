import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from activessf.data import slide_files
from activessf.data.slide_files import open_slide, slide_size
from activessf.errors import InputError
from activessf.regions.filtering import RegionFilter
from activessf.regions.tiles import Tiling, find_in_slide

PIXELS = np.random.default_rng(0).integers(0, 256, (300, 420, 3), dtype=np.uint8)
PAPER = yaml.safe_load((Path(__file__).resolve().parents[2] / "conf/regions/paper.yaml").read_text())
PAPER_FILTER = RegionFilter(
    **{key: value for key, value in PAPER.items() if not key.startswith("_")} | {"normalisation": "none"}
)


def pyramid(path: Path, pixels: np.ndarray, resolution: float | None = None, big: bool = False) -> Path:
    """A tiled TIFF of three levels, without loss; resolution in um per pixel."""
    tags = {} if resolution is None else {"resolution": (1e4 / resolution,) * 2, "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, bigtiff=big) as writer:
        for level in range(3):
            step = 2**level
            writer.write(
                pixels[::step, ::step],
                tile=(256, 256),
                compression="zlib",
                photometric="rgb",
                subfiletype=int(level > 0),
                metadata=None,
                **{
                    key: (tuple(v / step for v in value) if key == "resolution" else value)
                    for key, value in tags.items()
                },
            )
    return path


def layered(path: Path, levels: Sequence[np.ndarray]) -> Path:
    """A tiled TIFF of these levels, without loss."""
    with tifffile.TiffWriter(path) as writer:
        for number, pixels in enumerate(levels):
            writer.write(
                pixels,
                tile=(256, 256),
                compression="zlib",
                photometric="rgb",
                subfiletype=int(number > 0),
                metadata=None,
            )
    return path


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every TIFF counts as too large for memory."""
    monkeypatch.setattr(slide_files, "_MOST_PIXELS_IN_MEMORY", 0)


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("big", [False, True])
def test_a_pyramid_is_read_piece_by_piece_in_pixels_of_its_finest_level(tmp_path: Path, big: bool) -> None:
    path = pyramid(tmp_path / "slide.tif", PIXELS, 0.25, big)
    with open_slide(path) as slide:
        assert (slide.width, slide.height, slide.in_memory) == (420, 300, False)
        assert slide.resolution == pytest.approx(0.25, rel=1e-3)
        np.testing.assert_array_equal(slide.read(0, 0, 420, 300), PIXELS)
        np.testing.assert_array_equal(slide.read(250, 7, 20, 290), PIXELS[7:297, 250:270])
        for box in [(-1, 0, 5, 5), (0, 0, 421, 5), (0, 0, 0, 5), (419, 299, 2, 1)]:
            with pytest.raises(InputError, match="is not inside"):
                slide.read(*box)
    assert slide_size(path) == (300, 420)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.tif"])
def test_a_plain_image_is_read_at_once(tmp_path: Path, name: str) -> None:
    Image.fromarray(PIXELS).save(tmp_path / name)
    expected = np.asarray(Image.open(tmp_path / name).convert("RGB"))
    with open_slide(tmp_path / name) as slide:
        assert (slide.width, slide.height, slide.in_memory, slide.resolution) == (420, 300, True, None)
        np.testing.assert_array_equal(slide.read(5, 6, 70, 80), expected[6:86, 5:75])


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("a.tif", {"resolution": 10_000 / 0.5, "resolution_unit": 3}, 0.5),
        ("a.tif", {"resolution": 25_400 / 0.25, "resolution_unit": 2}, 0.25),
        ("a.tif", {"dpi": (300, 300)}, None),
        ("a.png", {"dpi": (101_600, 101_600)}, 0.25),
        ("a.png", {"dpi": (2400, 2400)}, None),
        ("a.jpg", {"dpi": (60_000, 60_000)}, None),
    ],
)
def test_a_resolution_counts_where_a_microscope_can_have_it(
    tmp_path: Path, name: str, options: dict, expected: float | None
) -> None:
    Image.fromarray(PIXELS).save(tmp_path / name, **options)
    with open_slide(tmp_path / name) as slide:
        assert slide.resolution == (None if expected is None else pytest.approx(expected, rel=1e-3))


def test_a_missing_damaged_or_strange_slide_is_named(tmp_path: Path, whole: None) -> None:
    (tmp_path / "text.svs").write_text("no slide")
    (tmp_path / "empty.ndpi").write_bytes(b"")
    path = pyramid(tmp_path / "cut.tif", PIXELS)
    path.write_bytes(path.read_bytes()[:60_000])
    for name in ("text.svs", "empty.ndpi", "gone.svs", "cut.tif"):
        with pytest.raises(InputError, match=name.replace(".", r"\.")), open_slide(tmp_path / name) as slide:
            slide.read(0, 0, slide.width, slide.height)


def test_a_slide_far_larger_than_memory_should_be_is_worked_through_in_little(tmp_path: Path) -> None:
    """9,000 x 8,000 px are 216 MB in memory; the process may take 60 MB more than for a small slide."""
    rng = np.random.default_rng(0)
    pixels = np.empty((8000, 9000, 3), np.uint8)
    pixels[:] = (225, 205, 210)
    pixels[::3, ::2] += rng.integers(0, 9, (2667, 4500, 1), np.uint8)
    rows, columns = np.mgrid[-45:46, -45:46]
    disc = np.hypot(rows, columns) <= 45
    centres = [(x, y) for y in range(1024, 8000, 1024) for x in range(1024, 9000, 1024)]
    for x, y in centres:  # on the corners of four tiles
        pixels[y - 45 : y + 46, x - 45 : x + 46][disc] = (90, 40, 160)
    large, small = pyramid(tmp_path / "large.tif", pixels), pyramid(tmp_path / "small.tif", pixels[:1600, :1600])
    figures = [run_and_measure(path) for path in (small, large)]
    assert [count for count, _ in figures] == [1, len(centres)]
    assert figures[1][1] - figures[0][1] < 60, figures


def run_and_measure(path: Path) -> tuple[int, float]:
    """Regions found in a process of its own, and its greatest memory in MB."""
    script = (
        "import resource, sys, yaml; from pathlib import Path\n"
        "from activessf.data import slide_files\n"
        "from activessf.regions.filtering import RegionFilter\n"
        "from activessf.regions.tiles import Tiling, find_in_slide\n"
        "slide_files._MOST_PIXELS_IN_MEMORY = 0\n"
        "settings = yaml.safe_load(Path(sys.argv[2]).read_text())\n"
        "names = {k: v for k, v in settings.items() if k[0] != '_'} | {'normalisation': 'none'}\n"
        "region_filter = RegionFilter(**names)\n"
        "with slide_files.open_slide(Path(sys.argv[1])) as slide:\n"
        "    found = find_in_slide(slide, region_filter, Tiling(1024, 128))\n"
        "print(len(found.regions), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    conf = Path(__file__).resolve().parents[2] / "conf/regions/paper.yaml"
    done = subprocess.run([sys.executable, "-c", script, path, conf], capture_output=True, text=True, check=True)
    count, memory = done.stdout.split()
    return int(count), float(memory)


@pytest.mark.usefixtures("whole")
def test_a_pyramid_gives_the_regions_of_the_plane(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pixels = np.clip(np.array([225, 205, 210]) + rng.normal(0, 4, (700, 900, 3)), 0, 255).astype(np.uint8)
    rows, columns = np.mgrid[:700, :900]
    for x, y, radius in [(256, 256, 40), (500, 300, 60), (700, 512, 38), (100, 600, 30)]:
        pixels[np.hypot(rows - y, columns - x) < radius] = (90, 40, 160)
    with open_slide(pyramid(tmp_path / "slide.tif", pixels)) as slide:
        tiled = find_in_slide(slide, PAPER_FILTER, Tiling(256, 150))
    assert tiled == PAPER_FILTER.find(pixels) and len(tiled.regions) == 3


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("longest", "size", "level"),
    [
        (5000, (800, 1200), 0),
        (1200, (800, 1200), 0),
        (1199, (799, 1199), 0),
        (601, (401, 601), 0),
        (600, (400, 600), 1),
        (301, (201, 301), 1),
        (300, (200, 300), 2),
        (7, (5, 7), 2),
        (1, (1, 1), 2),
    ],
)
def test_a_reduced_slide_is_read_from_the_coarsest_level_that_is_fine_enough(
    tmp_path: Path, longest: int, size: tuple[int, int], level: int
) -> None:
    colours = [(200, 10, 10), (10, 200, 10), (10, 10, 200)]
    levels = [np.full((800 >> number, 1200 >> number, 3), colour, np.uint8) for number, colour in enumerate(colours)]
    with open_slide(layered(tmp_path / "slide.tif", levels)) as slide:
        picture = slide.reduced(longest)
    assert picture.shape == (*size, 3) and picture.dtype == np.uint8
    assert (picture == colours[level]).all()


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("tile", [50, 128, 1024])
@pytest.mark.parametrize("longest", [420, 419, 293, 137, 37, 3])
def test_a_slide_reduced_by_tiles_is_its_plane_reduced_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest: int, tile: int
) -> None:
    monkeypatch.setattr(slide_files, "_TILE", tile)
    # The levels differ, so that only what was read from the right one fits.
    other = np.random.default_rng(1).integers(0, 256, (150, 210, 3), dtype=np.uint8)
    with open_slide(layered(tmp_path / "slide.tif", [PIXELS, other])) as slide:
        picture = slide.reduced(longest)
    plane = PIXELS if longest > 210 else other
    expected = cv2.resize(plane, picture.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert picture.shape[:2] == (round(300 * longest / 420), longest)
    assert np.abs(picture.astype(int) - expected).max() <= 1


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("longest", [801, 400, 137])
def test_levels_of_odd_size_leave_no_seam_and_no_border(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    """OpenSlide lays its white ground wherever a tile passes the edge of a level by a part of a pixel."""
    monkeypatch.setattr(slide_files, "_TILE", 100)
    rows, columns = np.mgrid[:1201, :1603]
    plane = np.stack([columns / 8, rows / 6, 100 + 50 * np.sin(columns / 90)], axis=2).astype(np.uint8)
    with open_slide(pyramid(tmp_path / "slide.tif", plane)) as slide:
        picture = slide.reduced(longest)
    expected = cv2.resize(plane, picture.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(picture.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_pixel_of_a_reduced_slide_is_the_mean_of_those_it_stands_for(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "a.tif":
        monkeypatch.setattr(slide_files, "_MOST_PIXELS_IN_MEMORY", 0)
        layered(tmp_path / name, [PIXELS])
    else:
        Image.fromarray(PIXELS).save(tmp_path / name)
    with open_slide(tmp_path / name) as slide:
        assert slide.in_memory == (name == "a.png")
        picture = slide.reduced(105)
        np.testing.assert_array_equal(slide.reduced(420), PIXELS)
        np.testing.assert_array_equal(slide.reduced(4200), PIXELS)
    means = PIXELS.reshape(75, 4, 105, 4, 3).mean(axis=(1, 3))
    assert picture.shape == (75, 105, 3) and np.abs(picture - means).max() <= 0.5


@pytest.mark.usefixtures("whole")
def test_a_slide_that_is_damaged_inside_is_named_when_it_is_reduced(tmp_path: Path) -> None:
    path = layered(tmp_path / "cut.tif", [PIXELS])
    with tifffile.TiffFile(path) as file:
        start, length = file.pages[0].dataoffsets[3], file.pages[0].databytecounts[3]
    data = bytearray(path.read_bytes())
    data[start : start + length] = bytes(length)
    path.write_bytes(data)
    with open_slide(path) as slide, pytest.raises(InputError, match=r"cut\.tif is damaged"):
        slide.reduced(50)


def test_a_slide_without_coarse_levels_is_reduced_in_little_memory(tmp_path: Path) -> None:
    """7,000 x 6,000 px are 126 MB in memory; the process may take 60 MB more than for a small slide."""
    pixels = np.full((6000, 7000, 3), (225, 205, 210), np.uint8)
    pixels[3000:] = (90, 40, 160)
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from activessf.data import slide_files\n"
        "slide_files._MOST_PIXELS_IN_MEMORY = 0\n"
        "with slide_files.open_slide(Path(sys.argv[1])) as slide:\n"
        "    picture = slide.reduced(70)\n"
        "print(*picture.shape[:2], *picture[0, 0], *picture[-1, -1])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    figures = []
    for name, plane in (("large", pixels), ("small", pixels[2700:3300, :700])):
        path = layered(tmp_path / f"{name}.tif", [plane])
        done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
        values, memory = done.stdout.splitlines()
        assert values == "60 70 225 205 210 90 40 160"
        figures.append(float(memory))
    assert figures[0] - figures[1] < 60, figures


def test_a_large_plane_in_strips_is_read_whole(tmp_path: Path, whole: None) -> None:
    tifffile.imwrite(tmp_path / "strips.tif", PIXELS, photometric="rgb", rowsperstrip=8)
    with open_slide(tmp_path / "strips.tif") as slide:
        assert slide.in_memory
        np.testing.assert_array_equal(slide.read(0, 0, slide.width, slide.height), PIXELS)


def test_a_small_file_that_states_a_huge_plane_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.svs"
    tifffile.imwrite(path, np.zeros((256, 256, 3), np.uint8), tile=(256, 256), photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as file:
        for tag in ("ImageWidth", "ImageLength"):
            file.pages[0].tags[tag].overwrite(100_000)
    with pytest.raises(InputError, match="damaged or truncated"), open_slide(path):
        pass
