import csv
import os
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from activessf.errors import InputError
from activessf.manifests import FAILURES, REGIONS, REJECTED, SLIDES
from activessf.regions.filtering import RegionFilter
from activessf.regions.quality.page import grouped_failures, write_quality
from activessf.regions.stage import Search, find_regions
from activessf.regions.tiles import Tiling

PRESETS = Path(__file__).resolve().parents[3] / "conf/regions"


def preset(name: str) -> RegionFilter:
    settings = {}
    for part in dict.fromkeys(("paper", name)):
        settings |= yaml.safe_load((PRESETS / f"{part}.yaml").read_text())
    return RegionFilter(**{key: value for key, value in settings.items() if key[0] != "_" and key != "defaults"})


PAPER_FILTER = preset("paper")
SMALL = replace(PAPER_FILTER, normalisation="none", min_size=16, max_size=40)


class Page(HTMLParser):
    """What a reader gets of a page: its elements, its text, and the cells of its tables by the table's id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.tables: dict[str, list[list[str]]] = {}
        self.bars: dict[str, list[tuple[str, str, str]]] = {}
        self._table, self._cell, self._chart, self._bar = "", False, "", ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        self.elements.append((tag, own))
        if tag == "table":
            self._table = own.get("id") or ""
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            self.tables[self._table][-1].append("")
            self._cell = True
        elif tag == "svg":
            self._chart = (own["aria-label"] or "").removeprefix("Histogram: ")
            self.bars[self._chart] = []
        elif tag == "rect":
            self._bar = own["class"] or ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False
        elif tag == "rect":
            self._bar = ""

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell:
            self.tables[self._table][-1][-1] += data
        if self._bar:
            edges, count = data.rsplit(": ", 1)
            self.bars[self._chart].append((self._bar, edges, count))

    def counted(self, chart: str, part: str) -> int:
        return sum(int(count) for kind, _, count in self.bars[chart] if kind == part)

    def linked(self) -> list[str]:
        addresses = [own.get("href") or own.get("src") for _, own in self.elements]
        return [unquote(address) for address in addresses if address is not None and address[0] != "#"]


def draw(path: Path, seed: int, cells: int) -> None:
    """Purple squares of 8 to 40 px on a pale ground, none touching another."""
    rng = np.random.default_rng(seed)
    image = np.full((200, 300, 3), (225, 205, 210), np.uint8)
    for index in range(cells):
        x, y = 50 * (index % 6) + 4, 50 * (index // 6) + 4
        width, height = rng.integers(8, 41, 2)
        image[y : y + height, x : x + width] = (90, 40, 160)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def search(tmp_path: Path) -> Search:
    root = tmp_path / "slides of <b>ours & theirs"
    for number in range(12):
        draw(root / f"p{number % 3}/<script>alert('{number}')< #{number}%20 ä.png", number, 2 * number)
    return Search(root, SMALL, {}, Tiling(512, 64), None, tmp_path / "store", False)


def slides_of(search: Search) -> list[str]:
    return sorted(path.relative_to(search.root).as_posix() for path in search.root.rglob("*") if path.is_file())


def result_of(search: Search, tmp_path: Path) -> Path:
    result = tmp_path / "result"
    result.mkdir()
    find_regions(search, slides_of(search), result, 0)
    return result


def new(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_gives_the_numbers_of_the_tables(search: Search, tmp_path: Path) -> None:
    (search.root / "broken.png").write_bytes(b"no image")
    result = result_of(search, tmp_path)
    page = Page(write_quality(result, search.root, search.filter_of, new(tmp_path / "page"), num_fields=2, num_crops=5))
    regions, rejected, slides = (rows_of(result / f"{name}.csv") for name in ("regions", "rejected", "slides"))
    with_region = len({row["image"] for row in regions})
    assert f"13 slides, {len(regions)} regions in {with_region} slides; 1 failed" in page.text
    assert f"{len(rejected)} regions rejected, {sum(int(row['specks']) for row in slides)} speck" in page.text
    reasons = Counter(row["reason"] for row in rejected)
    images = {reason: len({row["image"] for row in rejected if row["reason"] == reason}) for reason in reasons}
    assert {row[0]: (int(row[1]), int(row[3])) for row in page.tables["reasons"][1:]} == {
        reason: (count, images[reason]) for reason, count in reasons.items()
    }
    without = sorted(row["image"] for row in slides if row["regions"] == "0")
    assert [row[0] for row in page.tables["without-region"][1:]] == without
    assert [row["image"] for row in rows_of(tmp_path / "page/slides_without_region.csv")] == without
    for chart in ("Shorter side of the box, px", "Longer side of the box, px", "Fill rate"):
        assert page.counted(chart, "kept") == len(regions) and page.counted(chart, "rejected") == len(rejected)
    per_slide = Counter(row["regions"] for row in slides)
    assert {edges: int(count) for _, edges, count in page.bars["Regions in a slide"]} == per_slide
    assert "min_size 16" in page.text and "max_size 40" in page.text and "min_fill_rate 0.7" in page.text
    assert [row[0] for row in page.tables["failure-groups"][1:]] == ["1"] and "broken.png" in page.text


def test_no_kept_box_stands_left_of_the_bound(search: Search, tmp_path: Path) -> None:
    page = Page(
        write_quality(
            result_of(search, tmp_path),
            search.root,
            search.filter_of,
            new(tmp_path / "page"),
            num_fields=2,
            num_crops=5,
        )
    )
    for chart, bound in (("Shorter side of the box, px", 16), ("Fill rate", 0.7)):
        kept = [float(edges.split(" to ")[1]) for kind, edges, _ in page.bars[chart] if kind == "kept"]
        assert kept and min(kept) > bound


def test_whatever_is_linked_is_there_and_every_picture_is_whole(search: Search, tmp_path: Path) -> None:
    output = new(tmp_path / "page")
    page = Page(write_quality(result_of(search, tmp_path), search.root, search.filter_of, output, num_fields=8))
    linked = page.linked()
    assert linked and not any("://" in address or address.startswith("/") for address in linked)
    assert all((output / address).is_file() for address in linked)
    pictures = {address for address in linked if address.endswith(".png")}
    assert len([name for name in pictures if name.startswith("overlays/")]) == 8
    for address in pictures:
        with Image.open(output / address) as image:
            image.load()
            assert image.mode == "RGB" and min(image.size) > 100
    written = {path.relative_to(output).as_posix() for path in output.rglob("*.png")}
    assert written == pictures and not list(output.rglob(".*"))
    identifiers = {own["id"] for _, own in page.elements if "id" in own}
    jumps = [own["href"] for tag, own in page.elements if tag == "a" and (own["href"] or "").startswith("#")]
    assert all(jump is not None and jump[1:] in identifiers for jump in jumps)
    assert all(own.get("alt") for tag, own in page.elements if tag == "img")


def test_names_of_files_are_text_and_nothing_else(search: Search, tmp_path: Path) -> None:
    page = Page(
        write_quality(
            result_of(search, tmp_path),
            search.root,
            search.filter_of,
            new(tmp_path / "page"),
            num_fields=12,
            num_crops=5,
        )
    )
    assert "script" not in {tag for tag, _ in page.elements}
    assert "<script>alert('3')< #3%20 ä.png" in page.text and "<script>" not in page.source


def test_the_same_result_gives_the_same_bytes_and_another_seed_another_sample(search: Search, tmp_path: Path) -> None:
    result = result_of(search, tmp_path)
    folders = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        folder = new(tmp_path / name / "page")
        write_quality(result, search.root, search.filter_of, folder, num_fields=5, num_crops=10, seed=seed)
        folders.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert folders[0] == folders[1]
    assert folders[0][Path("contact_sheets/random.png")] != folders[2][Path("contact_sheets/random.png")]
    assert folders[0][Path("contact_sheets/by_size.png")] == folders[2][Path("contact_sheets/by_size.png")]


def test_contact_sheets_are_listed_in_their_order(search: Search, tmp_path: Path) -> None:
    result = result_of(search, tmp_path)
    output = new(tmp_path / "page")
    write_quality(result, search.root, search.filter_of, output, num_crops=9)
    regions = {row["crop"]: row for row in rows_of(result / "regions.csv")}
    sheets: dict[str, list[dict[str, str]]] = {}
    for row in rows_of(output / "contact_sheets.csv"):
        sheets.setdefault(row["sheet"], []).append(row)
    assert {name: len(rows) for name, rows in sheets.items()} == {
        "by_size": 9, "by_fill_rate": 9, "random": 9, "rejected": 9
    }  # fmt: skip
    longest = [max(int(row["width"]), int(row["height"])) for row in sheets["by_size"]]
    every = [max(int(row["width"]), int(row["height"])) for row in regions.values()]
    assert longest == sorted(longest) and (longest[0], longest[-1]) == (min(every), max(every))
    fills = [float(row["fill_rate"]) for row in sheets["by_fill_rate"]]
    assert fills == sorted(fills)
    for row in (row for name in ("by_size", "by_fill_rate", "random") for row in sheets[name]):
        assert all(row[key] == regions[row["crop"]][key] for key in ("image", "x", "y", "width", "height"))
    assert len({row["crop"] for row in sheets["random"]}) == 9


def test_a_rare_reason_is_on_the_contact_sheet_of_rejected_boxes(search: Search, tmp_path: Path) -> None:
    result = result_of(search, tmp_path)
    rejected = pd.read_csv(result / "rejected.csv")
    rejected.loc[0, "reason"] = "too large"
    rejected.to_csv(result / "rejected.csv", index=False)
    output = new(tmp_path / "page")
    write_quality(result, search.root, search.filter_of, output, num_fields=0, num_crops=4)
    reasons = [row["reason"] for row in rows_of(output / "contact_sheets.csv") if row["sheet"] == "rejected"]
    assert len(rejected) > 8 and reasons.count("too large") == 1 and reasons == sorted(reasons)


def test_a_slide_that_vanished_or_changed_leaves_a_note(search: Search, tmp_path: Path) -> None:
    result = result_of(search, tmp_path)
    slides = slides_of(search)
    (search.root / slides[0]).unlink()
    Image.new("RGB", (10, 10)).save(search.root / slides[1])
    for crop in list((result / "crops").iterdir())[:3]:
        crop.unlink()
    page = Page(write_quality(result, search.root, search.filter_of, new(tmp_path / "page"), num_fields=12))
    pictures = [own for tag, own in page.elements if tag == "img" and (own["src"] or "").startswith("overlays/")]
    notes = [own for tag, own in page.elements if own.get("class") == "missing"]
    assert len(pictures) == 10 and len(notes) == 2
    assert "does not exist" in page.text and "has 10x10 pixels now, and had 300x200 in stage 1" in page.text


@pytest.mark.parametrize("case", ["no regions", "nothing rejected", "neither"])
def test_a_single_slide_with_nothing_kept_or_nothing_rejected_has_its_page(case: str, tmp_path: Path) -> None:
    root, result = new(tmp_path / "root"), new(tmp_path / "result")
    Image.new("RGB", (60, 40), "white").save(root / "a.png")
    box = ("a.png", 5, 5, 20, 20, 0.8, 320)
    kept = [(*box, "crops/a_0000.png")] if case == "nothing rejected" else []
    rejected = [(*box, "too small")] if case == "no regions" else []
    tables = {
        "regions": (REGIONS, kept),
        "rejected": (REJECTED, rejected),
        "slides": (SLIDES, [("a.png", 60, 40, "", len(kept), len(rejected), 0)]),
        "failures": (FAILURES, []),
    }
    for name, (columns, rows) in tables.items():
        pd.DataFrame(rows, columns=list(columns)).to_csv(result / f"{name}.csv", index=False)
    output = new(tmp_path / "page")
    page = Page(write_quality(result, root, lambda _: PAPER_FILTER, output))
    count = len(kept)
    assert (
        f"1 slide, {count} region{'' if count else 's'} in {count} slide{'' if count else 's'}; 0 failed" in page.text
    )
    assert ("Nothing was rejected." in page.text) == (not rejected)
    assert ("Every slide has a region." in page.text) == bool(kept)
    assert "Every slide could be read." in page.text
    assert all((output / address).is_file() for address in page.linked())


def test_the_page_does_not_grow_with_the_number_of_slides(tmp_path: Path) -> None:
    lengths = []
    for count in (300, 3000):
        result = new(tmp_path / f"result{count}")
        names = [f"s{number:05d}.png" for number in range(count)]
        columns = {
            "image": names,
            "width": 90,
            "height": 80,
            "resolution": 0.5,
            "regions": 0,
            "rejected": 0,
            "specks": 1,
        }
        pd.DataFrame(columns).to_csv(result / "slides.csv", index=False)
        failed = pd.DataFrame({"image": [f"x{name}" for name in names]})
        failed["reason"] = (
            "The image /data/" + failed["image"] + " is damaged or truncated (12 bytes); replace the file."
        )
        failed.to_csv(result / "failures.csv", index=False)
        for name, header in (("regions", REGIONS), ("rejected", REJECTED)):
            pd.DataFrame(columns=list(header)).to_csv(result / f"{name}.csv", index=False)
        output = new(tmp_path / f"page{count}")
        own = replace(PAPER_FILTER, min_size=50)

        def filter_of(slide: str, own: RegionFilter = own) -> RegionFilter:
            return own if slide.endswith("7.png") else PAPER_FILTER

        page = Page(write_quality(result, tmp_path / "absent", filter_of, output))
        assert f"And {count - 50:,} more, all of them in slides_without_region.csv" in page.text
        assert [row[0] for row in page.tables["failure-groups"][1:]] == [f"{count:,}"]
        assert len(rows_of(output / "slides_without_region.csv")) == count
        assert all(row[1] == "min_size: 50" for row in page.tables["own-settings"])
        lengths.append(len(page.source))
    assert lengths[1] < lengths[0] + 200


def test_sizes_are_given_in_micrometres_where_the_resolution_is_known(tmp_path: Path) -> None:
    result = new(tmp_path / "result")
    scaled = replace(PAPER_FILTER, resolution=0.5, margin=4)
    slides = [("a.png", 500, 400, 0.25, 1, 0, 0), ("b.png", 500, 400, "", 1, 1, 0)]
    regions = [("a.png", 0, 0, 196, 176, 0.8, 20000, "a"), ("b.png", 0, 0, 100, 108, 0.8, 8000, "b")]
    pd.DataFrame(slides, columns=list(SLIDES)).to_csv(result / "slides.csv", index=False)
    pd.DataFrame(regions, columns=list(REGIONS)).to_csv(result / "regions.csv", index=False)
    rejected = [("b.png", 0, 0, 30, 50, 0.8, 800, "too small")]
    pd.DataFrame(rejected, columns=list(REJECTED)).to_csv(result / "rejected.csv", index=False)
    pd.DataFrame(columns=list(FAILURES)).to_csv(result / "failures.csv", index=False)
    page = Page(write_quality(result, tmp_path, lambda _: scaled, new(tmp_path / "page")))
    # At 0.25 um the margin is 8 px: 176 - 16 = 160 px or 40 um; the least size is 140 px or 35 um.
    ((_, micrometres, _),) = (bar for bar in page.bars["Shorter side of the box, µm"] if bar[0] == "kept")
    low, high = map(float, micrometres.split(" to "))
    assert low <= 40 < high
    assert page.counted("Shorter side of the box, µm", "rejected") == 0, "its slide's resolution is not known"
    pixels = [tuple(map(float, edges.split(" to "))) for kind, edges, _ in page.bars["Shorter side of the box, px"]
              if kind == "kept"]  # fmt: skip
    assert [low <= side < high for side, (low, high) in zip((92, 160), pixels, strict=True)] == [True, True]
    assert "lowest min_size 70" in page.text and "highest min_size 140" in page.text and "min_size 35" in page.text


def test_a_name_that_is_no_slide_and_numbers_that_cannot_be_are_refused(search: Search, tmp_path: Path) -> None:
    result = result_of(search, tmp_path)
    with pytest.raises(InputError, match="'nowhere.png' is no slide of this result"):
        write_quality(result, search.root, search.filter_of, new(tmp_path / "a"), named=["nowhere.png"])
    with pytest.raises(InputError, match="can't be 4 fields and 0 crops"):
        write_quality(result, search.root, search.filter_of, new(tmp_path / "b"), num_fields=4, num_crops=0)
    with pytest.raises(InputError, match=re.escape(f"{os.sep}slides.csv does not exist")):
        (result / "slides.csv").unlink()
        write_quality(result, search.root, search.filter_of, new(tmp_path / "c"))


def test_a_pattern_names_all_slides_that_it_matches(search: Search, tmp_path: Path) -> None:
    result = result_of(search, tmp_path)
    page = Page(write_quality(result, search.root, search.filter_of, new(tmp_path / "d"), named=["p1/*"], num_fields=0))
    assert page.text.count("kept, ") == 4 and "Named" in page.text and "Most regions" not in page.text


def test_failures_of_one_kind_are_one_line_whatever_the_file_and_the_number() -> None:
    reasons = ["The image /data/{} is damaged (cut at byte {}); replace it.", "The image /data/{} does not exist."]
    rows = [(f"f{number}.png", reasons[number % 3 == 0].format(f"f{number}.png", number)) for number in range(10)]
    groups = grouped_failures(pd.DataFrame(rows, columns=list(FAILURES)), Path("/data"))
    assert [(reason, len(images)) for reason, images in groups] == [
        ("The image ... is damaged (cut at byte 1); replace it.", 6),
        ("The image ... does not exist.", 4),
    ]


@pytest.mark.data
@pytest.mark.parametrize(("name", "number"), [("white_cells", 4), ("paper", 4)])
def test_public_fields_have_their_page(name: str, number: int, bccd: Path, tmp_path: Path) -> None:
    search = Search(bccd, preset(name), {}, Tiling(2048, 512), None, tmp_path / "store", False)
    slides = [f"JPEGImages/BloodImage_{index:05d}.jpg" for index in range(number)]
    result = new(tmp_path / "result")
    find_regions(search, slides, result, 0)
    output = new(tmp_path / "page")
    page = Page(write_quality(result, bccd, search.filter_of, output, num_fields=2, num_crops=20))
    regions = rows_of(result / "regions.csv")
    assert f"{number} slides, {len(regions)} region" in page.text
    assert page.counted("Fill rate", "kept") == len(regions)
    assert len(list(output.glob("overlays/*.png"))) == 2
