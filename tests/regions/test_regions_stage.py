import errno
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from activessf.data.images import read_image
from activessf.data.slide_files import open_slide
from activessf.errors import InputError
from activessf.manifests import FAILURES, REGIONS, REJECTED, SLIDES, read_table
from activessf.regions import stage
from activessf.regions.boxes import Region
from activessf.regions.filtering import RegionFilter
from activessf.regions.stage import Search, crop_prefixes, find_regions, search_shard
from activessf.regions.tiles import Tiling

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


def search(root: Path, store: Path, strict: bool = False, **own: RegionFilter) -> Search:
    return Search(root, PAPER_FILTER, own, Tiling(2048, 512), None, store, strict)


def run(root: Path, images: list[str], output: Path, num_workers: int = 0) -> Path:
    """The stage with a store of its own."""
    output.mkdir()
    find_regions(search(root, output.with_suffix(".store")), images, output, num_workers)
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
    assert ["truncated" in failures["reason"][0], "No such file" in failures["reason"][1]] == [True, True]
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


def test_crops_are_squares_of_one_size_where_asked_and_boxes_stay(slides: Path, tmp_path: Path) -> None:
    boxes = run(slides, names(slides), tmp_path / "boxes")
    (tmp_path / "squares").mkdir()
    squares = replace(search(slides, tmp_path / "boxes.store"), crop_size=120)
    find_regions(squares, names(slides), tmp_path / "squares", 0)  # finds nothing in the store of the boxes
    assert (tmp_path / "squares" / "regions.csv").read_text() == (boxes / "regions.csv").read_text()
    for row in read_table(tmp_path / "squares" / "regions.csv", REGIONS).itertuples():
        image = read_image(slides / row.image)
        left = min(max(row.x + row.width // 2 - 60, 0), image.shape[1] - 120)
        top = min(max(row.y + row.height // 2 - 60, 0), image.shape[0] - 120)
        crop = read_image(tmp_path / "squares" / row.crop)
        np.testing.assert_array_equal(crop, image[top : top + 120, left : left + 120])


def test_the_size_of_squares_follows_the_resolution_as_the_filter_does(slides: Path, tmp_path: Path) -> None:
    coarse = replace(PAPER_FILTER, resolution=0.5)
    squares = replace(search(slides, tmp_path / "store"), region_filter=coarse, crop_size=40)
    with open_slide(slides / "a" / "one.png") as opened:
        region = Region(100, 60, 20, 20, 1.0, 400)
        assert squares.crop_box(region, "a/one.png", opened) == (90, 50, 40, 40)
        opened.resolution = 0.25
        assert squares.crop_box(region, "a/one.png", opened) == (70, 30, 80, 80)
        assert replace(squares, region_filter=PAPER_FILTER).crop_box(region, "a/one.png", opened) == (90, 50, 40, 40)
        assert replace(squares, crop_size=None).crop_box(region, "a/one.png", opened) == (100, 60, 20, 20)


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


def tables(output: Path) -> dict[str, bytes]:
    """All files but the summary, which holds the time that it took."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and path.name != "summary.json"
    }


def test_every_slide_and_every_rejected_region_is_listed(slides: Path, tmp_path: Path) -> None:
    slide((10, 10, 90, 90), (150, 10, 50, 90)).save(slides / "small.png")
    output = run(slides, ["small.png", "empty.png", "tiny.png"], tmp_path / "output")
    listed = read_table(output / "slides.csv", SLIDES)
    assert listed["image"].tolist() == ["empty.png", "small.png", "tiny.png"]
    assert listed[["width", "height"]].to_numpy().tolist() == [[260, 200], [260, 200], [1, 1]]
    assert listed["regions"].tolist() == [0, 1, 0] and listed["rejected"].tolist() == [0, 1, 0]
    rejected = read_table(output / "rejected.csv", REJECTED)
    assert rejected[["image", "reason"]].to_numpy().tolist() == [["small.png", "too small"]]
    assert abs(rejected["x"][0] - 150) <= 1 and rejected["fill_rate"][0] > 0.9


def test_shards_share_the_work_and_their_parts_join(slides: Path, tmp_path: Path) -> None:
    images, store = names(slides), tmp_path / "store"
    alone = run(slides, images, tmp_path / "alone")
    for shard in (2, 0, 1):
        search_shard(search(slides, store), images, shard, 3, num_workers=0)
    read = []
    joined = tmp_path / "joined"
    joined.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "open_slide", lambda path, real=stage.open_slide: read.append(path.name) or real(path))
        find_regions(search(slides, store), images, joined, 0)
    assert tables(joined) == tables(alone)
    assert sorted(read) == ["cut.jpg", "text.png"]  # only what could not be read is tried again


def test_only_new_and_changed_slides_are_worked_through_again(
    slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(stage, "open_slide", lambda path, real=stage.open_slide: read.append(path.name) or real(path))
    store = tmp_path / "store"
    images = ["a/one.png", "empty.png", "upright.jpg"]

    def again(name: str, region_search: Search, images: list[str]) -> list[str]:
        read.clear()
        (tmp_path / name).mkdir()
        find_regions(region_search, images, tmp_path / name, 0)
        return list(read)

    assert again("first", search(slides, store), images) == ["one.png", "empty.png", "upright.jpg"]
    assert again("second", search(slides, store), images) == []
    slide((50, 50, 75, 75)).save(slides / "empty.png")
    assert again("third", search(slides, store), [*images, "alpha.png"]) == ["alpha.png", "empty.png"]
    own = {"upright.jpg": replace(PAPER_FILTER, min_size=60)}
    assert again("fourth", search(slides, store, **own), images) == ["upright.jpg"]
    stored = next(store.rglob("slide.json"))
    stored.write_text(stored.read_text()[:50])  # as a power cut may leave it
    assert len(again("fifth", search(slides, store), images)) <= 1
    assert tables(tmp_path / "fifth") == tables(run(slides, images, tmp_path / "fresh"))


def test_strict_stops_at_the_first_slide_that_cannot_be_read(slides: Path, tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    with pytest.raises(InputError, match=r"cut\.jpg is damaged or truncated .*strict=true stops here"):
        find_regions(search(slides, tmp_path / "store", strict=True), names(slides), tmp_path / "output", 0)


def test_a_full_disk_is_a_sentence_and_what_was_found_is_kept(
    slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, store = ["a/one.png", "b/one.png", "upright.jpg"], tmp_path / "store"
    written: list[Path] = []

    def full_after_two(image: np.ndarray, path: Path) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        path.write_bytes(b"crop")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("activessf.regions.store.write_png", full_after_two)
        (tmp_path / "output").mkdir()
        with pytest.raises(InputError, match="No space left on device.*what has been found so far is kept"):
            find_regions(search(slides, store), images, tmp_path / "output", 0)
    assert len(list(store.rglob("slide.json"))) == 1 and not list(store.rglob(".*"))


def test_settings_of_a_slide_of_its_own_are_used_for_it_alone(slides: Path, tmp_path: Path) -> None:
    own = {"b/one.png": replace(PAPER_FILTER, min_size=120)}
    (tmp_path / "output").mkdir()
    find_regions(search(slides, tmp_path / "store", **own), ["a/one.png", "b/one.png"], tmp_path / "output", 0)
    assert set(read_table(tmp_path / "output" / "regions.csv", REGIONS)["image"]) == {"a/one.png"}


def test_many_slides_of_one_long_name_have_short_crops_of_their_own() -> None:
    images = [f"{number}/{'x' * 240}.png" for number in range(3000)]
    prefixes = crop_prefixes(images)
    assert len(set(prefixes.values())) == 3000 and max(map(len, prefixes.values())) <= 65


def test_a_slide_that_changes_while_it_is_read_is_not_kept_under_its_old_name(
    slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = stage.find_in_slide

    def replaced_meanwhile(*arguments: Any) -> Any:
        found = usual(*arguments)
        slide((150, 10, 90, 90)).save(slides / "a.png")
        return found

    slide((10, 10, 90, 90)).save(slides / "a.png")
    monkeypatch.setattr(stage, "find_in_slide", replaced_meanwhile)
    with pytest.raises(InputError, match="has changed while it was read"):
        run(slides, ["a.png"], tmp_path / "first")
    monkeypatch.setattr(stage, "find_in_slide", usual)
    regions = read_table(run(slides, ["a.png"], tmp_path / "second") / "regions.csv", REGIONS)
    assert regions["x"].tolist() == [pytest.approx(150, abs=2)]


def test_equal_samples_of_large_files_do_not_make_slides_equal(slides: Path, tmp_path: Path) -> None:
    """Uncompressed, of one size, and alike but for a cell in the one or the other place."""
    for name, x in (("a.bmp", 50), ("b.bmp", 900)):
        image = Image.new("RGB", (1200, 1000), "white")
        image.paste((60, 20, 120), (x, 400, x + 90, 490))
        image.paste("black", (600, 700, 620, 720))  # so that min-max leaves the colours as they are
        image.save(slides / name)
    regions = read_table(run(slides, ["a.bmp", "b.bmp"], tmp_path / "output") / "regions.csv", REGIONS)
    assert regions.groupby("image")["x"].min().tolist() == [pytest.approx(50, abs=2), pytest.approx(900, abs=2)]


def test_a_reader_that_is_not_installed_stops_the_run(
    slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slides / "a.svs").write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(InputError, match="OpenSlide reads; install it"):
        run(slides, ["a.svs", "empty.png"], tmp_path / "output")


def test_files_beside_a_slide_are_a_part_of_it(tmp_path: Path) -> None:
    series = b"\x20\x00\x0d\x00UI\x02\x001\0\x20\x00\x0e\x00UI\x02\x002\0"
    for name in ("a.mrxs", "a/Data0.dat", "b.mrxs", "c.dcm", "d.dcm", "e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(series)
    before = {name: stage._key(tmp_path / name) for name in ("a.mrxs", "b.mrxs", "c.dcm", "e.png")}
    (tmp_path / "a/Data0.dat").write_bytes(b"2")
    (tmp_path / "d.dcm").write_bytes(series + b"pixels")
    after = {name: stage._key(tmp_path / name) for name in before}
    assert [name for name in before if before[name] != after[name]] == ["a.mrxs", "c.dcm"]
