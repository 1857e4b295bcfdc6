import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from activessf.data.images import read_image
from activessf.errors import InputError
from activessf.manifests import FAILURES, REGIONS, read_table
from activessf.regions.filtering import RegionFilter
from activessf.regions.stage import crop_prefixes, find_regions

PAPER = Path(__file__).resolve().parents[2] / "conf/regions/paper.yaml"
PAPER_FILTER = RegionFilter(
    **{key: value for key, value in yaml.safe_load(PAPER.read_text()).items() if not key.startswith("_")}
)
PURPLE, PALE = (90, 40, 160), (225, 205, 210)


def slide(*boxes: tuple[int, int, int, int]) -> Image.Image:
    pixels = np.full((200, 260, 3), PALE, dtype=np.uint8)
    for x, y, width, height in boxes:
        pixels[y : y + height, x : x + width] = PURPLE
    noise = np.random.default_rng(0).integers(-3, 4, pixels.shape)
    return Image.fromarray((pixels + noise).astype(np.uint8))


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    root = tmp_path / "slides"
    (root / "a").mkdir(parents=True)
    (root / "b").mkdir()
    slide((100, 20, 80, 90), (5, 100, 75, 75)).save(root / "a" / "one.png")
    slide((10, 10, 90, 90)).save(root / "b" / "one.png")
    slide().save(root / "empty.png")
    slide((10, 20, 80, 90)).save(root / "upright.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6
    slide((10, 20, 80, 90)).save(root / "turned.jpg", quality=95, exif=exif)
    slide((10, 10, 90, 90)).convert("L").save(root / "grey.png")
    slide((10, 10, 90, 90)).convert("RGBA").save(root / "alpha.png")
    Image.fromarray(np.full((90, 90), 30000, dtype=np.uint16)).save(root / "deep.png")
    Image.new("RGB", (1, 1)).save(root / "tiny.png")
    (root / "text.png").write_text("no image")
    data = (root / "upright.jpg").read_bytes()
    (root / "cut.jpg").write_bytes(data[: len(data) // 2])
    return root


def names(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in root.rglob("*.*")]


def run(root: Path, images: list[str], output: Path, num_workers: int = 0) -> Path:
    output.mkdir()
    find_regions(root, images, PAPER_FILTER, output, num_workers)
    return output


def test_good_images_give_regions_and_bad_ones_a_reason(slides: Path, tmp_path: Path) -> None:
    output = run(slides, [*names(slides), "gone.png"], tmp_path / "output")
    regions = read_table(output / "regions.csv", REGIONS)
    assert tuple(regions.columns) == REGIONS
    assert regions["image"].tolist() == [
        "a/one.png",
        "a/one.png",
        "alpha.png",
        "b/one.png",
        "turned.jpg",
        "upright.jpg",
    ]
    assert regions[["x", "y", "width", "height"]].to_numpy() == pytest.approx(
        np.array(
            [
                (100, 20, 80, 90),
                (5, 100, 75, 75),
                (10, 10, 90, 90),
                (10, 10, 90, 90),
                (200 - 20 - 90, 10, 90, 80),
                (10, 20, 80, 90),
            ]
        ),
        abs=2,
    )
    failures = read_table(output / "failures.csv", FAILURES)
    assert failures["image"].tolist() == ["cut.jpg", "gone.png", "text.png"]
    assert ["truncated" in failures["reason"][0], "does not exist" in failures["reason"][1]] == [True, True]
    summary = json.loads((output / "summary.json").read_text())
    assert summary.pop("seconds") >= 0
    assert summary == {"images": 12, "images_with_region": 5, "regions": 6, "failed": 3}


def test_crops_hold_the_original_pixels_of_their_boxes(slides: Path, tmp_path: Path) -> None:
    output = run(slides, names(slides), tmp_path / "output")
    regions = read_table(output / "regions.csv", REGIONS)
    assert regions["crop"].is_unique
    assert sorted(regions["crop"]) == sorted(f"crops/{path.name}" for path in (output / "crops").iterdir())
    for row in regions.itertuples():
        original = read_image(slides / row.image)[row.y : row.y + row.height, row.x : row.x + row.width]
        np.testing.assert_array_equal(read_image(output / row.crop), original)


def test_files_do_not_depend_on_workers_or_on_the_order_of_images(slides: Path, tmp_path: Path) -> None:
    images = names(slides)
    alone = run(slides, images, tmp_path / "alone")
    together = run(slides, [*images[::-1], images[0]], tmp_path / "together", num_workers=2)
    files = sorted(path.relative_to(alone) for path in alone.rglob("*.*") if path.name != "summary.json")
    assert files == sorted(path.relative_to(together) for path in together.rglob("*.*") if path.name != "summary.json")
    for file in files:
        assert (alone / file).read_bytes() == (together / file).read_bytes(), file


def test_no_region_gives_empty_tables_with_headers(slides: Path, tmp_path: Path) -> None:
    output = run(slides, ["empty.png", "tiny.png"], tmp_path / "output")
    assert (output / "regions.csv").read_text() == ",".join(REGIONS) + "\n"
    assert (output / "failures.csv").read_text() == ",".join(FAILURES) + "\n"
    assert list((output / "crops").iterdir()) == []
    assert json.loads((output / "summary.json").read_text())["images_with_region"] == 0


def test_nothing_readable_and_nothing_given_are_errors(slides: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"None of the 2 images can be read; the first: .*cut\.jpg is damaged"):
        run(slides, ["text.png", "cut.jpg"], tmp_path / "first")
    with pytest.raises(InputError, match="no image to look for regions in"):
        run(slides, [], tmp_path / "second")


def test_crop_prefixes_are_unique_without_regard_to_case() -> None:
    images = ["b/one.png", "a/one.png", "a/one.jpg", "ONE.tif", "one-2.png", "two.png", "two.png"]
    prefixes = crop_prefixes(images)
    assert list(prefixes) == sorted(set(images))
    assert len({prefix.casefold() for prefix in prefixes.values()}) == 6
    assert prefixes["two.png"] == "two" and prefixes == crop_prefixes(images[::-1])
