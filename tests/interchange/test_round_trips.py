"""What is written in any of the four formats is read again as it was."""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from activessf.errors import InputError
from activessf.interchange.coco import read_coco, write_coco
from activessf.interchange.geojson import read_geojson, write_geojson
from activessf.interchange.voc import read_voc, write_voc
from activessf.interchange.yolo import read_yolo, write_yolo

Sizes = dict[str, tuple[int, int]]
FORMATS = ("coco", "voc", "yolo", "geojson")
NUMBERS = ["x", "y", "width", "height", "fill_rate", "area", "score"]
COLUMNS = ["image", "label", "x", "y", "width", "height", "group", "fill_rate", "area", "score"]


def write(kind: str, cells: pd.DataFrame, sizes: Sizes, folder: Path) -> None:
    if kind == "coco":
        write_coco(cells, sizes, folder / "annotations.json")
    else:
        {"voc": write_voc, "yolo": write_yolo, "geojson": write_geojson}[kind](cells, sizes, folder)


def read(kind: str, folder: Path, sizes: Sizes) -> pd.DataFrame:
    if kind == "coco":
        return read_coco(folder / "annotations.json")
    if kind == "yolo":
        return read_yolo(folder / "labels", list(sizes), sizes.__getitem__)
    return {"voc": read_voc, "geojson": read_geojson}[kind](folder, list(sizes))


@contextmanager
def written(kind: str, cells: pd.DataFrame, sizes: Sizes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        write(kind, cells, sizes, Path(folder))
        yield Path(folder)


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=COLUMNS).astype(dict.fromkeys(NUMBERS, float))
    texts = frame[["image", "label", "group"]].astype(object).fillna("").astype(str)
    return frame.assign(**texts)


def what_remains(kind: str, cells: pd.DataFrame) -> pd.DataFrame:
    """The table without what a format has no place for."""
    without = {"coco": [], "geojson": [], "voc": NUMBERS[4:], "yolo": NUMBERS[4:]}[kind]
    kept = cells.assign(**dict.fromkeys(without, float("nan")))
    return kept.assign(group=kept["group"].str[:0]) if kind == "yolo" else kept


LETTERS = st.one_of(
    st.sampled_from("ab A&<>\"'#:%.,-é細\u202f\u200d😀"),
    st.characters(exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp"), exclude_characters="\ufeff"),
)
TEXTS = st.one_of(
    st.sampled_from(["no", "1.0", "~", "null", "- a", "a: b", "a # b", "&amp;", "]]>", "<!--", "'", "0"]),
    st.text(LETTERS, min_size=1, max_size=8).map(lambda text: text.strip() or "blank"),
)
PARTS = TEXTS.map(lambda text: re.sub(r"^\.|[/\\]", "_", text))
FOLDERS = st.sampled_from(["", "one/", "two/", "two/ünter & <drei>/"])
IMAGES = st.builds("{}{}{}".format, FOLDERS, PARTS, st.sampled_from([".png", ".jpg", ".b.tif"]))


@st.composite
def tables(draw: st.DrawFn, unit: float = 1.0) -> tuple[pd.DataFrame, Sizes]:
    """Cells in the order of their images, boxes in multiples of a unit, in images of up to a whole slide's size."""
    names = draw(st.lists(IMAGES, min_size=1, max_size=5, unique=True))
    sizes = {name: draw(st.sampled_from([(1, 1), (640, 480), (97, 89), (131_071, 99_999)])) for name in sorted(names)}
    labels, groups = draw(st.lists(TEXTS, min_size=1, max_size=3)), draw(st.lists(st.just("") | TEXTS, min_size=1))
    rows = []
    for image, (width, height) in sizes.items():
        for _ in range(draw(st.integers(0, 3))):
            sides: dict[str, float] = {}
            for start, length, limit in (("x", "width", width), ("y", "height", height)):
                first = draw(st.integers(0, round(limit / unit) - 1))
                sides[start] = first * unit
                sides[length] = draw(st.integers(1, round(limit / unit) - first)) * unit
            sides = {name: round(value, 3) for name, value in sides.items()}
            row = {"image": image, "label": draw(st.sampled_from(labels)), "group": draw(st.sampled_from(groups))}
            known = draw(st.booleans())
            share, area = draw(st.floats(0, 1)), draw(st.integers(1, 10**10))
            measured = {"fill_rate": share, "area": area, "score": 1 - share} if known else {}
            rows.append(row | sides | measured)
    return table(*rows), sizes


@pytest.mark.filterwarnings("ignore:YOLO files have no place for groups")
@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whole_pixels_and_any_names_come_back_as_they_were(kind: str, data: st.DataObject) -> None:
    cells, sizes = data.draw(tables())
    with written(kind, cells, sizes) as folder:
        assert_frame_equal(read(kind, folder, sizes), what_remains(kind, cells), check_exact=True)


@pytest.mark.filterwarnings("ignore:YOLO files have no place for groups")
@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_thousandths_of_pixels_come_back_as_they_were(kind: str, data: st.DataObject) -> None:
    cells, sizes = data.draw(tables(unit=0.001))
    with written(kind, cells, sizes) as folder:
        assert_frame_equal(read(kind, folder, sizes), what_remains(kind, cells), check_exact=True)


@pytest.mark.filterwarnings("ignore:YOLO files have no place for groups")
@pytest.mark.parametrize("kind", FORMATS)
def test_every_column_one_stem_in_two_folders_and_two_suffixes_and_an_empty_image(kind: str, tmp_path: Path) -> None:
    sizes = dict.fromkeys(["a/x.png", "b/x.jpg", "b/x.png", "b/x.png.tif", "empty.png"], (64, 48))
    cells = table(
        {"image": "a/x.png", "label": "one", "x": 0, "y": 0, "width": 64, "height": 48, "group": "p & q"},
        {"image": "b/x.jpg", "label": "two", "x": 1, "y": 2, "width": 3, "height": 4, "score": 0.25},
        {"image": "b/x.png", "label": "one", "x": 5, "y": 6, "width": 7, "height": 8, "fill_rate": 0.5, "area": 28},
        {"image": "b/x.png.tif", "label": "one", "x": 9, "y": 9, "width": 1, "height": 1},
    )
    write(kind, cells, sizes, tmp_path)
    assert_frame_equal(read(kind, tmp_path, sizes), what_remains(kind, cells), check_exact=True)
    again = tmp_path / "again"
    write(kind, cells, sizes, again)
    files = [path.relative_to(again) for path in again.rglob("*") if path.is_file()]
    assert files and all((tmp_path / name).read_bytes() == (again / name).read_bytes() for name in files)


def cells_with(**changes: Any) -> pd.DataFrame:
    row = {"image": "a.png", "label": "n", "x": 1, "y": 1, "width": 2, "height": 2, "group": ""}
    return table(row | changes)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": ""}, "the class name is ''; it must be a text"),
        ({"label": "a\nb"}, r"the class name is 'a\\nb', with a control character"),
        ({"label": "\ud800"}, r"the class name is '\\ud800', with .* half a character"),
        ({"label": " a"}, "the class name ' a' begins or ends with a space"),
        ({"group": "a\x00"}, "the group is"),
        ({"width": 0}, r"a cell of 'a\.png' has no area \(width=0, height=2\)"),
        ({"height": -1}, "has no area"),
        ({"x": float("nan")}, r"x of a cell of 'a\.png' is nan"),
        ({"x": float("inf")}, r"x of a cell of 'a\.png' is inf"),
        ({"fill_rate": float("inf")}, r"fill_rate of a cell of 'a\.png' is inf"),
        ({"image": "b.png"}, r"the size of 'b\.png' is not known"),
    ],
)
def test_what_a_format_can_not_hold_is_refused_before_anything_is_written(
    kind: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"^The cells can't be written: .*{message}"):
        write(kind, cells_with(**changes), {"a.png": (8, 8)}, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "image", ["../a.png", "/a.png", "C:/a.png", "a\\b.png", "a//b.png", "./a.png", "a/../b.png", ""]
)
def test_image_paths_that_are_not_plain_and_relative_are_refused(kind: str, image: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^The cells can't be written: "):
        write(kind, cells_with(image=image), {image: (8, 8)}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_groups_that_yolo_loses_are_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no place for groups"):
        write_yolo(cells_with(group="p1"), {"a.png": (8, 8)}, tmp_path)


# Hostile files


NASTY = [b"NaN", b"-Infinity", b"1e999", b"-1", b'""', b'"', b"<", b">", b"&e;", b"[" * 3000, b'{"a":' * 3000, b"\xff"]
NASTY += [
    b"\x00",
    b"\xef\xbb\xbf",
    b"null",
    b"true",
    b"../",
    b"/",
    b"C:\\\\",
    b"\\ud800",
    b"[]",
    b"{}",
    b"0",
    b"9" * 400,
]
NASTY += [b"\n", b" ", b"<!DOCTYPE a>", b"*a", b"&a [*a]", b"!!python/object/apply:os.getcwd []"]


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Some bytes are replaced, taken out or put in."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 12)))
        content = content[:start] + draw(st.sampled_from(NASTY) | st.binary(max_size=4)) + content[end:]
    return content


FILES = {
    "coco": ["annotations.json"],
    "voc": ["s/a.xml"],
    "yolo": ["labels/s/a.txt", "classes.txt", "data.yaml"],
    "geojson": ["s/a.geojson"],
}
SIZES: Sizes = {"s/a.png": (64, 48), "b.png": (8, 8)}
SOME = table(
    {"image": "s/a.png", "label": "one", "x": 1, "y": 2.5, "width": 3, "height": 4, "fill_rate": 0.5, "score": 0.5},
    {"image": "s/a.png", "label": "two", "x": 5, "y": 6, "width": 7, "height": 8},
)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in FORMATS}
    for kind, folder in folders.items():
        write(kind, SOME, SIZES, folder)
    return folders


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FILES.items() for name in names])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_gives_a_table_or_one_sentence(
    kind: str, name: str, data: st.DataObject, originals: dict[str, Path]
) -> None:
    path = originals[kind] / name
    content = path.read_bytes()
    try:
        path.write_bytes(data.draw(damaged(content)))
        found = read(kind, originals[kind], SIZES)
    except InputError as error:
        assert "\n" not in str(error) and str(originals[kind]) in str(error) and len(str(error)) < 700
        str(error).encode()
    else:
        assert list(found.columns) == COLUMNS
        assert (found[["width", "height"]] > 0).all(axis=None) and found[["x", "y"]].notna().all(axis=None)
        found.to_csv().encode()
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: b"  \n",
        lambda content: content.decode().encode("utf-16"),
        lambda content: b"[" * 100_000,
        lambda content: b'{"a":' * 100_000,
        lambda content: b"<a>" * 100_000,
        lambda content: content[: len(content) // 2] + b"\xff\xfe" + content[len(content) // 2 :],
    ],
    ids=["empty", "blank", "utf16", "brackets", "braces", "tags", "bytes"],
)
def test_files_that_are_something_else_are_one_sentence(
    kind: str, spoil: Callable[[bytes], bytes], originals: dict[str, Path]
) -> None:
    path = originals[kind] / FILES[kind][0]
    content = path.read_bytes()
    changed = spoil(content)
    path.write_bytes(changed)
    try:
        if kind == "yolo" and not changed.strip():
            assert read(kind, originals[kind], SIZES).empty  # an image without a cell
        elif kind == "voc" and changed[:2] in (b"\xff\xfe", b"\xfe\xff"):
            # A byte order mark says what it is; only a declaration to the contrary is a fault.
            with pytest.raises(InputError, match="no XML"):
                read(kind, originals[kind], SIZES)
        else:
            with pytest.raises(InputError, match=re.escape(f"{path} can't be read as ")):
                read(kind, originals[kind], SIZES)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_byte_order_mark_is_no_part_of_a_file(kind: str, originals: dict[str, Path]) -> None:
    for name in FILES[kind]:
        path = originals[kind] / name
        content = path.read_bytes()
        path.write_bytes(b"\xef\xbb\xbf" + content)
        try:
            assert_frame_equal(read(kind, originals[kind], SIZES), what_remains(kind, SOME))
        finally:
            path.write_bytes(content)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_or_folder_that_is_not_there_is_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "nowhere"))):
        read(kind, tmp_path / "nowhere", SIZES)
