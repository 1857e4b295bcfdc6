import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from activessf.data.annotated import annotated_source
from activessf.data.source import Source
from activessf.errors import InputError
from activessf.manifests import BOX

IMAGES = ("p1_a.png", "p1_b.png", "deep/p2_a.png", "deep/p3_none.png")


def annotated(root: Path | str | None, **changes: Any) -> Source:
    arguments: dict[str, Any] = {
        "format": "coco",
        "annotations": "boxes",
        "images": "images",
        "slides": None,
        "classes": None,
        "group_pattern": None,
        "rare": [],
        "common": [],
    }
    return annotated_source(None if root is None else str(root), **(arguments | changes))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in IMAGES:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(path)
    return tmp_path


def coco(root: Path, *cells: tuple[str, str, list[float]], **extra: Any) -> None:
    names, labels = sorted({cell[0] for cell in cells}), sorted({cell[1] for cell in cells})
    content = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(labels)],
        "annotations": [
            {"id": number, "image_id": names.index(name), "category_id": labels.index(label), "bbox": sides} | extra
            for number, (name, label, sides) in enumerate(cells)
        ],
    }
    (root / "boxes").write_text(json.dumps(content))


def voc(root: Path, name: str, *objects: tuple[str, list[int]]) -> None:
    tags = ("xmin", "ymin", "xmax", "ymax")
    items = "".join(
        f"<object><name>{label}</name><bndbox>"
        + "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, corners, strict=True))
        + "</bndbox></object>"
        for label, corners in objects
    )
    write(root / f"boxes/{name}.xml", f"<a><size><width>64</width><height>48</height></size>{items}</a>")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def polygon(label: str, *points: tuple[float, float]) -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": [[*points, points[0]]]}
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {"classification": {"name": label, "color": [0, 0, 0]}},
    }


EXPECTED = [
    ["images/deep/p2_a.png", "m", 10, 20, 30, 20],
    ["images/p1_a.png", "n", 0, 0, 8, 4],
    ["images/p1_b.png", "n", 32, 24, 32, 24],
]


def in_format(root: Path, kind: str) -> None:
    """The three cells of EXPECTED, written by hand."""
    if kind == "coco":
        cells = [("deep/p2_a.png", "m", [10.0, 20, 30, 20]), ("p1_a.png", "n", [0.0, 0, 8, 4])]
        coco(root, *cells, ("p1_b.png", "n", [32, 24, 32, 24]))
    elif kind == "voc":
        voc(root, "deep/p2_a", ("m", [11, 21, 40, 40]))
        voc(root, "p1_a", ("n", [1, 1, 8, 4]))
        voc(root, "p1_b", ("n", [33, 25, 64, 48]))
    elif kind == "yolo":
        write(root / "classes.txt", "n\nm\n")
        write(root / "boxes/deep/p2_a.txt", "1 0.390625 0.625 0.46875 0.4166666666666667\n")
        write(root / "boxes/p1_a.txt", "0 0.0625 0.041666666666666664 0.125 0.08333333333333333\n")
        write(root / "boxes/p1_b.txt", "0 0.75 0.75 0.5 0.5")
    else:
        write(root / "boxes/deep/p2_a.geojson", json.dumps([polygon("m", (10, 20), (40, 30), (25, 40))]))
        write(root / "boxes/p1_a.png.geojson", json.dumps(polygon("n", (0, 0), (8, 0), (8, 4))))
        collection = {"type": "FeatureCollection", "features": [polygon("n", (32, 24), (64, 24), (64, 48))]}
        write(root / "boxes/p1_b.geojson", json.dumps(collection))


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo", "geojson"])
def test_the_same_cells_are_read_from_every_format(kind: str, root: Path) -> None:
    in_format(root, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = annotated(root, format=kind)
    assert source.cells[["image", "label", *BOX]].to_numpy().tolist() == EXPECTED
    assert source.cells["group"].tolist() == source.cells["split"].tolist() == ["", "", ""]
    assert source.classes == ("m", "n") and source.root == root
    assert source.slides == tuple(sorted(f"images/{name}" for name in IMAGES))  # unlabeled ones too


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo", "geojson"])
def test_the_folder_of_images_may_be_the_root_itself(kind: str, root: Path) -> None:
    in_format(root / "images", kind)
    source = annotated(root / "images", format=kind, images=".")
    assert source.cells["image"].tolist() == [row[0].removeprefix("images/") for row in EXPECTED]


@pytest.mark.parametrize("kind", ["voc", "yolo", "geojson"])
def test_annotations_may_stand_beside_their_images(kind: str, root: Path) -> None:
    in_format(root, kind)
    for path in (root / "boxes").rglob("*.*"):
        path.rename(root / "images" / path.relative_to(root / "boxes"))
    assert annotated(root, format=kind, annotations="images").cells["image"].tolist() == [row[0] for row in EXPECTED]


def test_annotations_may_stand_elsewhere(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    in_format(elsewhere, "voc")
    assert len(annotated(root, format="voc", annotations=str(elsewhere / "boxes")).cells) == 3


def test_groups_come_from_names_for_slides_too_or_from_the_files(root: Path) -> None:
    in_format(root, "coco")
    source = annotated(root, group_pattern=r"(p\d)_")
    assert source.cells["group"].tolist() == ["p2", "p1", "p1"]
    assert source.slide_groups["images/deep/p3_none.png"] == "p3" and len(source.slide_groups) == 4
    coco(root, ("p1_a.png", "n", [1, 1, 2, 2]), ("p1_b.png", "m", [1, 1, 2, 2]), attributes={"group": "x"})
    assert annotated(root).cells["group"].tolist() == ["x", "x"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "is no regular expression"),
        ("p1", "needs one pair of brackets"),
        ("^(p1)_", r"finds no group in 'images/deep/p2_a\.png'"),
    ],
)
def test_a_pattern_that_does_not_serve_is_said(pattern: str, message: str, root: Path) -> None:
    in_format(root, "coco")
    with pytest.raises(InputError, match=message):
        annotated(root, group_pattern=pattern)


def test_slides_may_be_in_a_folder_of_their_own(root: Path) -> None:
    in_format(root, "coco")
    write(root / "slides/s_1.png", "")
    assert annotated(root, slides="slides").slides == ("slides/s_1.png",)


def test_classes_choose_and_the_others_are_counted(root: Path) -> None:
    cells = [("p1_a.png", name, [number, 0, 2, 2]) for number, name in enumerate(["n", "m", "x", "x", "y"])]
    coco(root, *cells)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match=r"not in data\.classes are left out: 2 x, 1 y\.$"):
        source = annotated(root, classes=["n", "m"], rare=["m"])
    assert source.classes == ("n", "m") and source.cells["label"].tolist() == ["n", "m"] and source.rare == ("m",)
    with pytest.raises(InputError, match="Unknown class"):
        annotated(root, classes=["q", "r"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "csv"}, "data.format='csv' is not known; choose coco, voc, yolo or geojson"),
        ({"annotations": "nowhere.json"}, r"nowhere\.json does not exist"),
        ({"format": "voc", "annotations": "nowhere"}, r"nowhere is no folder; it should hold a \.xml file an image"),
        ({"images": "nowhere"}, r"\d image\(s\) are not there: 'nowhere/deep/p2_a\.png'"),
        ({"images": "../elsewhere"}, "must be relative and stay below the data root"),
        ({"format": "voc", "images": "nowhere"}, "nowhere is no folder; put the images there"),
    ],
)
def test_what_is_missing_is_said(changes: dict[str, Any], message: str, root: Path) -> None:
    in_format(root, "coco")
    with pytest.raises(InputError, match=message):
        annotated(root, **({"slides": "images"} | changes))


def test_an_unset_root_is_said_with_an_example() -> None:
    with pytest.raises(InputError, match=r"^data\.root is not set; .*data\.root=/"):
        annotated(None)


def test_objects_without_a_class_and_files_without_an_object_are_said(root: Path) -> None:
    write(root / "boxes/p1_a.geojson", json.dumps(polygon("n", (0, 0), (8, 0), (8, 4)) | {"properties": {}}))
    with pytest.raises(InputError, match=r"p1_a\.geojson .*object 1 has no class; give it one, or delete it"):
        annotated(root, format="geojson")
    write(root / "boxes/p1_a.geojson", "[]")
    with pytest.raises(InputError, match=r"boxes hold no cell; check data\.annotations"):
        annotated(root, format="geojson")


def test_the_same_box_twice_is_said(root: Path) -> None:
    coco(root, ("p1_a.png", "n", [1, 1, 2, 2]), ("p1_a.png", "m", [1, 1, 2, 2]))
    with pytest.raises(InputError, match=r"1 cell\(s\) are listed twice, the first in images/p1_a\.png"):
        annotated(root)


@pytest.mark.data
def test_the_cells_of_bccd_are_those_that_a_count_of_lines_gives(bccd: Path) -> None:
    source = annotated(bccd, format="voc", annotations="Annotations", images="JPEGImages")
    text = "".join(path.read_text() for path in (bccd / "Annotations").glob("*.xml"))
    for name in ("RBC", "WBC", "Platelets"):
        assert (source.cells["label"] == name).sum() == text.count(f"<name>{name}</name>") > 300
    assert source.classes == ("Platelets", "RBC", "WBC")
