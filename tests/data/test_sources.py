import os
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from activessf.data.bccd import bccd_source
from activessf.data.chula_rbc12 import chula_rbc12_source
from activessf.data.demo import DEMO_CLASSES
from activessf.data.demo_source import demo_source
from activessf.data.folder import folder_source
from activessf.data.manifest import manifest_source
from activessf.data.source import Source, check_classification, images_below, make_source
from activessf.errors import InputError
from activessf.manifests import BOX, CELLS


def picture(path: Path, width: int = 8, height: int = 6) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (200, 150, 200)).save(path)


def folder(root: Path | str | None, **changes: Any) -> Source:
    arguments: dict[str, Any] = {
        "cells": "cells",
        "slides": "slides",
        "classes": None,
        "group_pattern": None,
        "rare": [],
        "common": [],
    }
    return folder_source(None if root is None else str(root), **(arguments | changes))


def manifest(root: Path | str | None, **changes: Any) -> Source:
    arguments: dict[str, Any] = {
        "cells": "cells.csv",
        "slides": "slides",
        "box_size": None,
        "classes": None,
        "rare": [],
        "common": [],
    }
    return manifest_source(None if root is None else str(root), **(arguments | changes))


def bccd_fields(root: Path | str | None, **changes: Any) -> Source:
    arguments: dict[str, Any] = {
        "images": "images",
        "annotations": "boxes",
        "subtypes": "subtypes.csv",
        "box_name": "WBC",
    }
    arguments |= {"classes": None, "rare": [], "common": []}
    return bccd_source(None if root is None else str(root), **(arguments | changes))


def chula_fields(root: Path | str | None, **changes: Any) -> Source:
    arguments: dict[str, Any] = {"images": "images", "labels": "labels", "box_size": 80, "classes": ["round", "long"]}
    return chula_rbc12_source(None if root is None else str(root), **(arguments | {"rare": [], "common": []} | changes))


SOURCES = [folder, manifest, bccd_fields, chula_fields]


# What all sources share


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("root", [None, ""])
def test_an_unset_root_is_said_with_an_example(source: Callable[..., Source], root: str | None) -> None:
    with pytest.raises(InputError, match=r"^data\.root is not set; .*data\.root=/"):
        source(root)


@pytest.mark.parametrize("source", SOURCES)
def test_a_root_that_is_no_folder_is_named(source: Callable[..., Source], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(InputError, match=rf"data\.root=.*{name} is no folder"):
            source(tmp_path / name)


@pytest.mark.parametrize("source", SOURCES)
def test_an_empty_root_is_one_sentence_that_names_what_is_missing(
    source: Callable[..., Source], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"(is no folder|does not exist)") as caught:
        source(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def cells_of(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["image", "label"])


def test_missing_columns_are_filled_and_slides_and_labels_sorted(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    source = make_source(tmp_path, cells_of(("b.png", "y"), ("a.png", "x")), ["t.png", "s.png"], None)
    assert tuple(source.cells.columns) == CELLS and source.cells[list(BOX)].isna().all(axis=None)
    assert (source.cells[["group", "split"]] == "").all(axis=None)
    assert source.classes == ("x", "y") and source.slides == ("s.png", "t.png")


def test_one_image_has_one_spelling(tmp_path: Path) -> None:
    picture(tmp_path / "slides/a.png")
    cells = cells_of(("./slides//a.png", "x"), ("slides/deep/../a.png", "y"))
    cells = cells.assign(x=[0, 2], y=0, width=2, height=2)
    source = make_source(tmp_path, cells, ["slides/a.png"], None)
    assert source.cells["image"].tolist() == ["slides/a.png"] * 2


@given(st.lists(st.sampled_from(["..", "a", "b", ".", ""]), min_size=1, max_size=6), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
def test_no_path_leaves_the_root(tmp_path: Path, parts: list[str], absolute: bool) -> None:
    image = ("/" if absolute else "") + "/".join([*parts, "x.png"])
    depth = lowest = 0
    for part in parts:
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        lowest = min(lowest, depth)
    leaves = image.startswith("/") or lowest < 0
    with pytest.raises(InputError, match="stay below the data root" if leaves else "are not there"):
        make_source(tmp_path, cells_of((image, "x"), (image, "y")), [], None)


def test_names_of_classes_are_checked(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    cells = cells_of(("a.png", "x"), ("b.png", "y"))
    for classes, rare, words in [
        (["x"], [], "Unknown class 'y'; the classes are x"),
        (["x", "y", "z"], [], "No labeled cell of class 'z'; add some or take it out of data.classes"),
        (["x", "y", "x"], [], "A class is named twice in x, y, x"),
        (None, ["w"], "data.rare and data.common name 'w', which is no class"),
    ]:
        with pytest.raises(InputError, match=re.escape(words)):
            make_source(tmp_path, cells, [], classes, rare)
    with pytest.raises(InputError, match="only one class, 'x'"):
        check_classification(make_source(tmp_path, cells.assign(label="x"), [], None))
    with pytest.raises(InputError, match="holds no labeled cells"):
        make_source(tmp_path, cells[:0], [], None)


def test_many_offenders_are_named_in_part(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"9 image\(s\) are not there: '0', '1', '2' and 6 more"):
        make_source(tmp_path, cells_of(*((str(n), "xy"[n % 2]) for n in range(9))), [], None)


def test_classes_that_look_like_numbers_are_names(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    source = make_source(tmp_path, cells_of(("a.png", "1"), ("b.png", "2")), [], [2, 1], rare=[1])  # type: ignore[list-item]
    assert source.classes == ("2", "1") and source.rare == ("1",)


# data=folder


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("G-MK/p1_1.png", "G-MK/p2_1.JPG", "IMK/p1_2.tif", "IMK/deeper/p3_1.bmp"):
        picture(tmp_path / "cells" / name)
    for name in ("slides/b.png", "slides/sub/a.jpeg", "slides/.hidden/c.png", "slides/._b.png"):
        picture(tmp_path / name)
    (tmp_path / "slides/notes.txt").touch()
    (tmp_path / "slides/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "cells/.cache").mkdir()
    (tmp_path / "cells/README.txt").touch()
    return tmp_path


def test_class_folders_are_read_with_their_subfolders(folders: Path) -> None:
    source = folder(folders, group_pattern="([^_/]+)_")
    assert source.cells[["image", "label", "group"]].to_numpy().tolist() == [
        ["cells/G-MK/p1_1.png", "G-MK", "p1"],
        ["cells/G-MK/p2_1.JPG", "G-MK", "p2"],
        ["cells/IMK/deeper/p3_1.bmp", "IMK", "p3"],
        ["cells/IMK/p1_2.tif", "IMK", "p1"],
    ]
    assert source.classes == ("G-MK", "IMK") and source.slides == ("slides/b.png", "slides/sub/a.jpeg")
    assert source.cells[list(BOX)].isna().all(axis=None) and source.root == folders


def test_classes_are_chosen_and_ordered_by_the_user(folders: Path) -> None:
    picture(folders / "cells/other/x.png")
    source = folder(folders, classes=["IMK", "G-MK"], rare=["IMK"], common=["G-MK"])
    assert source.classes == ("IMK", "G-MK") and len(source.cells) == 4
    assert source.rare == ("IMK",) and source.common == ("G-MK",) and (source.cells["group"] == "").all()


def test_the_group_pattern_sees_the_path_below_the_class_folder(folders: Path) -> None:
    picture(folders / "cells/IMK/p9/1.png")
    cells = folder(folders, group_pattern=r"^(?:deeper/)?(p\d)[_/]").cells
    assert cells["group"].tolist() == ["p1", "p2", "p3", "p1", "p9"]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("([^_]+_", "is no regular expression: missing ), unterminated subpattern"),
        ("^(q)", "finds no group in 'cells/G-MK/p1_1.png'"),
        ("^p1", "needs one pair of brackets"),
        ("^p1(x)?", "finds no group"),
    ],
)
def test_a_useless_group_pattern_is_refused(folders: Path, pattern: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        folder(folders, group_pattern=pattern)
    assert f"data.group_pattern={pattern!r}" in str(caught.value)


def test_missing_and_empty_folders_are_named(folders: Path) -> None:
    with pytest.raises(InputError, match="nothing is no folder; it should hold one folder of cell images a class"):
        folder(folders, cells="nothing")
    (folders / "bare").mkdir()
    with pytest.raises(InputError, match="bare holds no class folders"):
        folder(folders, cells="bare")
    with pytest.raises(InputError, match=r"cells/S-MK is no folder"):
        folder(folders, classes=["G-MK", "S-MK"])
    (folders / "cells/S-MK").mkdir()
    with pytest.raises(InputError, match=r"cells/S-MK holds no image \(\.jpg"):
        folder(folders)


def test_slides_are_needed(folders: Path) -> None:
    with pytest.raises(InputError, match="nothing is no folder"):
        folder(folders, slides="nothing")
    with pytest.raises(InputError, match="bare holds no image"):
        (folders / "bare").mkdir()
        folder(folders, slides="bare")
    for outside in ("../elsewhere", str(folders / "slides")):
        with pytest.raises(InputError, match="must be relative and stay below the data root"):
            folder(folders, slides=outside)


# data=manifest


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], Path]:
    for name in ("slides/a.png", "slides/b.png", "with space.png"):
        picture(tmp_path / name)

    def write(text: str, encoding: str = "utf-8") -> Path:
        (tmp_path / "cells.csv").write_text(text, encoding=encoding)
        return tmp_path

    return write


def test_a_manifest_with_boxes_groups_and_splits(table: Callable[..., Path]) -> None:
    source = manifest(
        table(
            "image,x,y,width,height,label,group,split\n"
            "slides/a.png,0,1,2,3,x,007,0\n"
            "slides/a.png,4,1,2.5,3,y,NA,1\n"
            "with space.png,,,,,x,,2\n"
        )
    )
    assert source.cells["group"].tolist() == ["007", "NA", ""] and source.cells["split"].tolist() == ["0", "1", "2"]
    assert source.cells[list(BOX)].to_numpy()[:2].tolist() == [[0, 1, 2, 3], [4, 1, 2.5, 3]]
    assert source.cells[list(BOX)].iloc[2].isna().all() and source.slides == ("slides/a.png", "slides/b.png")


def test_centres_become_squares_that_lie_in_the_image(table: Callable[..., Path]) -> None:
    root = table("image,label,x,y\nslides/a.png,x,5,4\nslides/b.png,y,0,0\nslides/a.png,y,7,7\n")
    with Image.open(root / "slides/a.png") as image:
        width, height = image.size
    cells = manifest(root, box_size=4).cells
    assert cells[["x", "y", "width", "height"]].to_numpy().tolist() == [
        [min(3, width - 4), min(2, height - 4), 4, 4],
        [0, 0, 4, 4],
        [min(5, width - 4), min(5, height - 4), 4, 4],
    ]
    with pytest.raises(InputError, match="is not four numbers"):
        manifest(root)
    for wrong in (0, 2.5, "a"):
        with pytest.raises(InputError, match="data.box_size"):
            manifest(root, box_size=wrong)


def test_images_that_tables_can_not_name_are_left_out_and_counted(tmp_path: Path) -> None:
    narrow = "at 3.05\u202fPM.png"  # macOS writes such spaces
    for name in ("a.png", narrow, " lead.png", "line\rbreak.png", os.fsdecode(b"latin\xe9.png")):
        (tmp_path / name).touch()
    with pytest.warns(UserWarning, match=r"3 image\(s\) are left out, whose names tables can't hold"):
        assert images_below(tmp_path, ".") == ["a.png", narrow]


def test_labels_stay_text(table: Callable[..., Path]) -> None:
    source = manifest(table("image,label\nslides/a.png,01\nslides/b.png,NA\nwith space.png,null\n"))
    assert source.cells["label"].tolist() == ["01", "NA", "null"] and source.classes == ("01", "NA", "null")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_byte_order_mark_line_ends_and_stray_spaces_do_no_harm(
    table: Callable[..., Path], encoding: str, newline: str
) -> None:
    lines = ["image,label,x,y,width,height,group", "slides/a.png, x , 0, 0,2,2 , p", " slides/b.png,x,0,0,2,2,p ", ""]
    source = manifest(table(newline.join([*lines[:2], "with space.png,\u00e4,,,,,q", *lines[2:]]), encoding))
    assert source.cells["label"].tolist() == ["x", "\u00e4", "x"] and source.cells["group"].tolist() == ["p", "q", "p"]
    assert source.cells["image"].tolist() == ["slides/a.png", "with space.png", "slides/b.png"]


BOXES = "image,label,x,y,width,height\nslides/a.png,x,0,0,2,2\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "can't be read as a CSV file with a header"),
        ("image,label\n", "holds no labeled cells"),
        ("image\nslides/a.png\n", "cells.csv lacks the column label; it has image"),
        ("image;label\nslides/a.png;x\n", "lacks the columns image, label; it has image;label"),
        ("file,kind\nslides/a.png,x\n", "lacks the columns image, label; it has file, kind"),
        ("image,label\nslides/a.png,x\nslides/c.png,y\n", "1 image(s) are not there: 'slides/c.png'"),
        ("image,label\nslides/a.png,x\n../out.png,y\n", "stay below the data root; found '../out.png'"),
        ("image,label\nslides/a.png,x\n/etc/out.png,y\n", "stay below the data root; found '/etc/out.png'"),
        ("image,label\nslides/a.png,x\nslides/../../o.png,y\n", "stay below the data root; found '../o.png'"),
        ("image,label\nslides/a.png,x\nslides,y\n", "1 image(s) are not there: 'slides'"),
        ("image,label\nslides/a.png,x\n,y\n", "cells.csv, line 3: image='' is empty"),
        ("image,label\nslides/a.png,x\nslides/b.png,\n", "cells.csv, line 3: label='' is empty"),
        ("image,label\nslides/a.png,x\nslides/b.png, \n", "cells.csv, line 3: label='' is empty"),
        (BOXES + "slides/b.png,y,0,,2,2\n", "The box of a cell in slides/b.png is not four numbers"),
        ("image,label,x,y\nslides/a.png,x,1,2\nslides/b.png,y,1,2\n", "give all four or none"),
        (BOXES + "slides/b.png,y,0,zero,2,2\n", "cells.csv, line 3: y='zero' is no number"),
        (BOXES + "slides/b.png,y,0,0,2px,2\n", "cells.csv, line 3: width='2px' is no number"),
        (BOXES + "slides/b.png,y,0,0,2,inf\n", "cells.csv, line 3: height='inf' is no number"),
        (BOXES + "slides/a.png,y,0,0,2,2\n", "1 cell(s) are listed twice, the first in slides/a.png"),
        (BOXES + "./slides/a.png,y,0.0,0,2,2\n", "1 cell(s) are listed twice"),
        ("image,label\nslides/a.png,x\nslides/a.png,y\n", "1 cell(s) are listed twice"),
        ('image,label\n"slides/a.png,x\n', "can't be read as a CSV file"),
    ],
)
def test_a_wrong_manifest_is_one_clear_sentence(table: Callable[..., Path], text: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        manifest(table(text))


def test_a_missing_or_foreign_manifest_is_named(table: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"other\.csv does not exist"):
        manifest(tmp_path, cells="other.csv")
    with pytest.raises(InputError, match="can't be read as a CSV file"):
        manifest(table("image,label\nslides/a.png,x\n", "utf-16"))


def test_classes_of_a_manifest_can_be_given(table: Callable[..., Path]) -> None:
    root = table("image,label\nslides/a.png,x\nslides/b.png,y\n")
    assert manifest(root, classes=["y", "x"], common=["x"]).classes == ("y", "x")
    with pytest.raises(InputError, match="Unknown class 'y'; the classes are x, z"):
        manifest(root, classes=["x", "z"])
    with pytest.raises(InputError, match="No labeled cell of class 'z'"):
        manifest(root, classes=["x", "y", "z"])


# data=bccd


def voc(*corners: tuple[Any, ...], name: str = "WBC", size: str = "<width>64</width><height>48</height>") -> str:
    tags = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, box, strict=True))
        + "</bndbox></object>"
        for box in corners
    )
    return f"<annotation><size>{size}</size>{objects}</annotation>"


@pytest.fixture
def smears(tmp_path: Path) -> Callable[..., Path]:
    def write(**fields: tuple[str, str | None]) -> Path:
        (tmp_path / "boxes").mkdir()
        lines = ["image,wbc_subtypes"]
        for name, (subtypes, annotation) in fields.items():
            picture(tmp_path / f"images/{name}.jpg", 64, 48)
            lines += [f"{name}.jpg,{subtypes}"]
            if annotation is not None:
                (tmp_path / f"boxes/{name}.xml").write_text(annotation)
        (tmp_path / "subtypes.csv").write_text("\n".join(lines) + "\n")
        return tmp_path

    return write


def test_voc_corners_are_inclusive_and_count_from_one(smears: Callable[..., Path]) -> None:
    root = smears(a=("m", voc((1, 1, 64, 48))), b=("n", voc((11, 21, 11, 22))), c=("n", voc((0, 40, 70, 50))))
    cells = bccd_fields(root).cells
    assert cells[list(BOX)].to_numpy().tolist() == [[0, 0, 64, 48], [10, 20, 1, 2], [0, 39, 64, 9]]
    assert cells["group"].tolist() == cells["image"].tolist() == ["images/a.jpg", "images/b.jpg", "images/c.jpg"]


def test_only_certain_fields_are_labeled_and_the_others_counted(smears: Callable[..., Path]) -> None:
    two = voc((1, 1, 9, 9), (20, 20, 30, 30))
    root = smears(
        certain=("n", voc((1, 1, 9, 9))),
        equal=("m+m", two),
        mixed=("n+m", two),
        fewer=("n+n", voc((1, 1, 9, 9))),
        more=("n", two),
        nothing=("e", voc()),
        unannotated=("e", None),
        nameless=("", voc((1, 1, 9, 9))),
        red=("n", voc((1, 1, 9, 9), name="RBC")),
    )
    with pytest.warns(UserWarning) as caught:
        source = bccd_fields(root)
    assert Counter(source.cells["label"]) == {"n": 1, "m": 2} and len(source.slides) == 9
    (message,) = [str(item.message) for item in caught]
    # n: mixed 1, fewer 2, more 1, red 1; e: nothing, unannotated; m: mixed
    assert message.startswith("8 cells stay unlabeled (5 n, 2 e, 1 m)")


def test_certain_fields_give_no_warning(smears: Callable[..., Path]) -> None:
    root = smears(a=("m", voc((1, 1, 9, 9))), b=("n", voc((1, 1, 9, 9))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(bccd_fields(root).cells) == 2


@pytest.mark.parametrize(
    "annotation",
    [
        "",
        "<annotation><object>",
        "not xml",
        voc(("", 1, 9, 9)),
        voc(("one", 1, 9, 9)),
        voc(("inf", 1, 9, 9)),
        voc(("nan", 1, 9, 9)),
        voc((1, 1, 9, 9), size=""),
        '<?xml version="1.0" encoding="nonsense"?><annotation/>',
    ],
)
def test_a_broken_annotation_is_named(smears: Callable[..., Path], annotation: str) -> None:
    root = smears(a=("m", voc((1, 1, 9, 9))), b=("n", annotation))
    with pytest.raises(InputError, match=r"b\.xml can't be read as a Pascal VOC annotation: .+"):
        bccd_fields(root)


def test_an_entity_expansion_bomb_does_not_hang(smears: Callable[..., Path]) -> None:
    entities = '<!ENTITY e0 "lol">' + "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 13))
    bomb = f"<!DOCTYPE a [{entities}]><annotation><object><name>&e12;</name></object></annotation>"
    root = smears(a=("m", voc((1, 1, 9, 9))), b=("n", bomb))
    started = time.monotonic()
    with pytest.raises(InputError, match=r"b\.xml can't be read"):
        bccd_fields(root)
    assert time.monotonic() - started < 10


def test_bccd_folders_and_table_must_be_there(smears: Callable[..., Path]) -> None:
    root = smears(a=("m", voc((1, 1, 9, 9))), b=("n", voc((1, 1, 9, 9))))
    with pytest.raises(InputError, match="nowhere is no folder; put the images there"):
        bccd_fields(root, images="nowhere")
    with pytest.raises(InputError, match="nowhere is no folder; it should hold the fields' Pascal VOC annotations"):
        bccd_fields(root, annotations="nowhere")
    with pytest.raises(InputError, match=r"nowhere\.csv does not exist"):
        bccd_fields(root, subtypes="nowhere.csv")
    with pytest.raises(InputError, match="Unknown class 'n'"):
        bccd_fields(root, classes=["m", "e"])


@pytest.mark.data
def test_bccd_counts_agree_with_the_files(bccd: Path) -> None:
    """Counted here by regular expressions and string splitting alone."""
    lines = (bccd / "subtypes.csv").read_text().split("\n")[1:]
    subtypes = dict(line.strip().split(",") for line in lines if line.strip())
    labeled, left_out, boxes = Counter[str](), Counter[str](), {}
    for path in (bccd / "JPEGImages").glob("*.jpg"):
        annotation = bccd / "Annotations" / f"{path.stem}.xml"
        text = annotation.read_text() if annotation.exists() else ""
        objects = [part for part in text.split("<object>")[1:] if "<name>WBC</name>" in part]
        names = [name for name in subtypes.get(path.name, "").split("+") if name]
        if names and len(set(names)) == 1 and len(objects) == len(names):
            labeled.update(names)
            boxes[f"JPEGImages/{path.name}"] = sorted(
                [int(re.findall(f"<{tag}>(.*)</{tag}>", part)[0]) for tag in ("xmin", "ymin", "xmax", "ymax")]
                for part in objects
            )
        else:
            left_out.update(names)
    classes = ["neutrophil", "eosinophil", "lymphocyte", "monocyte", "basophil"]
    with pytest.warns(UserWarning) as caught:
        source = bccd_fields(bccd, images="JPEGImages", annotations="Annotations", classes=classes)
    assert Counter(source.cells["label"]) == labeled and sum(labeled.values()) > 300
    assert len(source.slides) == len(list((bccd / "JPEGImages").iterdir()))
    message = str(caught[0].message)
    assert message.startswith(f"{sum(left_out.values())} cells stay unlabeled")
    assert all(f"{count} {name}" in message for name, count in left_out.items())
    found = source.cells.assign(
        left=source.cells["x"] + 1, top=source.cells["y"] + 1,
        right=source.cells["x"] + source.cells["width"], bottom=source.cells["y"] + source.cells["height"],
    )  # fmt: skip
    for image, part in found.groupby("image"):
        corners = sorted(part[["left", "top", "right", "bottom"]].astype(int).to_numpy().tolist())
        # The annotations have corners from 0 to the width and height; ours stay in the field.
        assert corners == [[max(x, 1), max(y, 1), min(r, 640), min(b, 480)] for x, y, r, b in boxes[str(image)]]


# data=chula_rbc12


@pytest.fixture
def fields(tmp_path: Path) -> Callable[..., Path]:
    def write(width: int = 200, height: int = 150, **labels: str) -> Path:
        (tmp_path / "labels").mkdir(exist_ok=True)
        for name, text in labels.items():
            picture(tmp_path / f"images/{name}.png", width, height)
            (tmp_path / f"labels/{name}.txt").write_text(text)
        picture(tmp_path / "images/unlabeled.png")
        return tmp_path

    return write


def test_boxes_lie_round_the_centres_and_inside_the_field(fields: Callable[..., Path]) -> None:
    source = chula_fields(fields(a="100 75 0\n\n0 0 1\r\n199 149 0\n", b="60.0 60.0 1"))
    assert source.cells[list(BOX)].to_numpy().tolist() == [
        [60, 35, 80, 80],
        [0, 0, 80, 80],
        [120, 70, 80, 80],
        [20, 20, 80, 80],
    ]
    assert source.cells["label"].tolist() == ["round", "long", "round", "long"]
    assert source.cells["group"].tolist() == ["images/a.png"] * 3 + ["images/b.png"]
    assert source.slides == ("images/a.png", "images/b.png", "images/unlabeled.png")


@given(st.integers(0, 199), st.integers(0, 149), st.integers(1, 220))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_every_box_lies_in_its_field_and_holds_its_centre(
    fields: Callable[..., Path], x: int, y: int, box_size: int
) -> None:
    source = chula_fields(fields(a=f"{x} {y} 0", b="0 0 1"), box_size=box_size)
    left, top, width, height = source.cells.loc[0, list(BOX)]
    assert 0 <= left <= x < left + width <= 200 and 0 <= top <= y < top + height <= 150
    assert width == height == min(box_size, 150)


def test_a_box_that_two_cells_share_is_one_cell(fields: Callable[..., Path]) -> None:
    source = chula_fields(fields(a="100 75 0\n100 75 1\n3 3 1\n20 20 0\n101 75 0"))
    assert source.cells[["x", "y", "label"]].to_numpy().tolist() == [
        [60, 35, "round"],
        [0, 0, "long"],
        [61, 35, "round"],
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("10 20", "line 2: '10 20' is not 'x y type'"),
        ("10 20 0 5", "is not 'x y type'"),
        ("10,20,0", "is not 'x y type'"),
        ("ten 20 0", "is not 'x y type'"),
        ("inf 20 0", "is not 'x y type'"),
        ("nan 20 0", "is not 'x y type'"),
        ("10 20 2", "line 2: type 2 is none of 0 to 1"),
        ("10 20 -1", "line 2: type -1 is none of 0 to 1"),
        ("200 20 1", "line 2: (200, 20) lies outside a field of 200x150 pixels"),
        ("10 -1 1", "line 2: (10, -1) lies outside a field"),
    ],
)
def test_a_wrong_label_line_is_named(fields: Callable[..., Path], line: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        chula_fields(fields(a=f"5 5 0\n{line}\n"))
    assert "a.txt, line 2" in str(caught.value)


def test_a_label_file_that_is_no_text_is_named(fields: Callable[..., Path]) -> None:
    root = fields(a="5 5 0", b="5 5 1")
    (root / "labels/b.txt").write_bytes(b"\xff\xfe\x001 2")
    with pytest.raises(InputError, match=r"b\.txt, line 1: .* is not 'x y type'"):
        chula_fields(root)


def test_a_broken_field_does_not_stop_the_others(fields: Callable[..., Path]) -> None:
    root = fields(a="5 5 0", b="5 5 1", c="30 9 1")
    (root / "images/c.png").write_bytes(b"broken")
    assert Counter(chula_fields(root).cells["image"]) == {"images/a.png": 1, "images/b.png": 1, "images/c.png": 1}


def test_chula_folders_must_be_there(fields: Callable[..., Path]) -> None:
    root = fields(a="5 5 0", b="5 5 1")
    with pytest.raises(InputError, match="nowhere is no folder; it should hold a text file of cell centres a field"):
        chula_fields(root, labels="nowhere")
    (root / "empty").mkdir()
    with pytest.raises(InputError, match="holds no labeled cells"):
        chula_fields(root, labels="empty")
    with pytest.raises(InputError, match="No labeled cell of class 'flat'"):
        chula_fields(root, classes=["round", "long", "flat"])


@pytest.mark.data
def test_chula_counts_agree_with_the_files(chula: Path) -> None:
    """Counted here with numpy from the lines, by box corners clipped to the 640x480 fields."""
    names = [f"type {number}" for number in range(13)]
    expected = Counter[str]()
    num_points = 0
    for path in (chula / "labels").iterdir():
        points = np.loadtxt(path, ndmin=2)
        num_points += len(points)
        left_top = np.clip(points[:, :2] - 40, 0, (640 - 80, 480 - 80))
        _, first = np.unique(left_top, axis=0, return_index=True)
        expected.update(f"type {int(kind)}" for kind in points[first, 2])
    source = chula_fields(chula, classes=names)
    cells = source.cells
    assert Counter(cells["label"]) == expected and num_points - 5 < len(cells) <= num_points
    assert len(source.slides) == len(list((chula / "images").iterdir()))
    assert cells["image"].nunique() == len(list((chula / "labels").iterdir()))
    assert (cells[["width", "height"]] == 80).all(axis=None) and (cells[["x", "y"]] >= 0).all(axis=None)
    assert (cells["x"] + 80).max() <= 640 and (cells["y"] + 80).max() <= 480
    assert not cells.duplicated(["image", *BOX]).any()


# data=demo


def test_demo_slides_are_written_once_and_shared(tmp_path: Path) -> None:
    settings = {"num_labeled_slides": 5, "num_unlabeled_slides": 1, "height": 400, "width": 520, "seed": 2}
    first = demo_source(str(tmp_path), **settings)
    before = {path: path.stat().st_mtime_ns for path in first.root.rglob("*")}
    second = demo_source(str(tmp_path), **settings)
    assert second.root == first.root and {path: path.stat().st_mtime_ns for path in first.root.rglob("*")} == before
    pd.testing.assert_frame_equal(first.cells, second.cells)
    assert first.classes == DEMO_CLASSES and len(first.slides) == 6 and first.rare == ("CA-MK", "HL-MK")
    assert (first.cells["group"] != "").all() and first.cells[list(BOX)].notna().all(axis=None)
    assert demo_source(str(tmp_path), **(settings | {"seed": 3})).root != first.root


def test_too_few_demo_slides_for_all_classes_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No labeled cell of class"):
        demo_source(str(tmp_path), num_labeled_slides=1, num_unlabeled_slides=0, height=256, width=320)
