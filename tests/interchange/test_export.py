import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from PIL import Image

from activessf.errors import InputError
from activessf.interchange.export import FORMATS, export, main

REGIONS = """image,x,y,width,height,fill_rate,area,crop
s/a.png,1,2,30,40,0.75,900,crops/a_0000.png
s/a.png,5,6,10,10,1.0,100,crops/a_0001.png
s/b.png,0,0,20,10,0.5,100,crops/b_0000.png
"""
SLIDES = """image,width,height,resolution,regions,rejected,specks
s/a.png,64,48,,2,0,0
s/b.png,20,10,0.25,1,0,0
s/c.png,9,9,,0,0,0
"""
SELECTION = """crop,prototype,distance,threshold,selected
crops/a_0000.png,0,1.5,2,1
crops/a_0001.png,0,2.5,2,0
crops/b_0000.png,1,1.0,2,1
"""
PREDICTIONS = """image,x,y,width,height,group,fold,label,predicted,p_m,p_n
a.png,1,2,3,4,p1,0,n,m,0.75,0.25
a.png,,,,,p1,0,n,n,0.125,0.875
"""


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    folder = tmp_path / "stages/regions/demo-0123"
    folder.mkdir(parents=True)
    (folder / "regions.csv").write_text(REGIONS)
    (folder / "slides.csv").write_text(SLIDES)
    return folder


@pytest.fixture
def selection(regions: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "stages/selection/activessf-4567"
    folder.mkdir(parents=True)
    (folder / "selection.csv").write_text(SELECTION)
    (folder / "inputs.json").write_text('{"regions": "demo-0123"}')
    return folder


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    (tmp_path / "predictions.csv").write_text(PREDICTIONS)
    return tmp_path / "predictions.csv"


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_regions_become_files_of_each_format(regions: Path, tmp_path: Path) -> None:
    expected = {
        "coco": ["annotations.json"],
        "voc": ["s/a.xml", "s/b.xml", "s/c.xml"],
        "yolo": ["classes.txt", "data.yaml", "labels/s/a.txt", "labels/s/b.txt", "labels/s/c.txt"],
        "geojson": ["s/a.geojson", "s/b.geojson", "s/c.geojson"],
    }
    for kind in FORMATS:
        output = tmp_path / "out" / kind
        assert export(regions, kind, output) == f"3 boxes of 3 images: {output}"
        assert files(output) == expected[kind]
    assert files(tmp_path / "out") == sorted(f"{kind}/{name}" for kind, names in expected.items() for name in names)


def test_regions_without_a_class_are_cells_or_what_is_said(regions: Path, tmp_path: Path) -> None:
    for label, name in ((None, "cell"), ("white & red", "white & red")):
        export(regions, "coco", tmp_path / name, label)
        content = json.loads((tmp_path / name / "annotations.json").read_text())
        assert content["categories"] == [{"id": 1, "name": name}]
        assert [item["bbox"] for item in content["annotations"]] == [[1, 2, 30, 40], [5, 6, 10, 10], [0, 0, 20, 10]]
        assert content["annotations"][0]["attributes"] == {"fill_rate": 0.75, "area": 900}
        assert [item["file_name"] for item in content["images"]] == ["s/a.png", "s/b.png", "s/c.png"]


def test_of_a_selection_only_what_was_selected_is_exported(selection: Path, tmp_path: Path) -> None:
    export(selection, "coco", tmp_path / "out")
    content = json.loads((tmp_path / "out/annotations.json").read_text())
    assert [item["bbox"] for item in content["annotations"]] == [[1, 2, 30, 40], [0, 0, 20, 10]]


def test_a_selection_without_its_regions_is_said(selection: Path, regions: Path, tmp_path: Path) -> None:
    regions.rename(tmp_path / "elsewhere")
    with pytest.raises(
        InputError, match=r"was selected from the regions in .*regions/demo-0123/regions\.csv, which is"
    ):
        export(selection, "coco", tmp_path / "out")


def test_predictions_have_their_predicted_class_and_its_probability(predictions: Path, tmp_path: Path) -> None:
    export(predictions, "geojson", tmp_path / "out", root=tmp_path)
    features = json.loads((tmp_path / "out/a.geojson").read_text())["features"]
    assert [item["properties"]["classification"]["name"] for item in features] == ["m", "n"]
    assert [item["properties"]["measurements"] for item in features] == [{"score": 0.75}, {"score": 0.875}]
    assert features[1]["geometry"]["coordinates"] == [[[0, 0], [64, 0], [64, 48], [0, 48], [0, 0]]]  # the whole image


def test_a_table_of_labeled_cells_has_their_labels(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    (tmp_path / "cells.csv").write_text("image,label,x,y,width,height\na.png,007,1,2,3,4\n")
    export(tmp_path / "cells.csv", "voc", tmp_path / "out", root=tmp_path)
    root = ElementTree.parse(tmp_path / "out/a.xml").getroot()
    assert root.findtext("object/name") == "007" and root.findtext("size/width") == "20"


def test_an_output_that_holds_something_is_left_alone(regions: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(regions, "voc", tmp_path / "out")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")}
    for kind in FORMATS:
        with pytest.raises(InputError, match=r"out is there already and not an empty folder; name another one"):
            export(regions, kind, tmp_path / "out")
    with pytest.raises(InputError, match="is there already"):
        export(regions, "voc", regions / "regions.csv")
    with pytest.raises(InputError, match=r"can't be written \(.*\); name another folder"):
        export(regions, "voc", regions / "regions.csv/deeper")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")} == before


def test_nothing_is_left_of_an_export_that_fails(regions: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="the class name"):
        export(regions, "yolo", tmp_path / "out", "a\nb")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "regions.csv").unlink(), r"neither a CSV file nor a folder with regions\.csv or"),
        (lambda folder: (folder / "slides.csv").unlink(), r"no slides\.csv beside the boxes.*--root DIR"),
        (lambda folder: (folder / "slides.csv").write_text("image,width\n"), r"slides\.csv lacks the column height"),
        (
            lambda folder: (folder / "slides.csv").write_text("image,width,height\ns/a.png,8,8\n"),
            "size of 's/b.png' is",
        ),
        (lambda folder: (folder / "regions.csv").write_text("image,x,y\n"), "lacks the columns width, height"),
        (lambda folder: rewrite(folder, "s/b.png,0,", "s/b.png,q,"), r"regions\.csv, line 4: x='q' is no number"),
        (lambda folder: rewrite(folder, "s/b.png,0,", "s/b.png,,"), "line 4: only a part of the box is given"),
        (lambda folder: rewrite(folder, ",20,10,0.5", ",20,0,0.5"), r"has no area \(width=20, height=0\)"),
        (lambda folder: rewrite(folder, ",20,10,0.5", ",20,10,inf"), "fill_rate of a cell of 's/b.png' is inf"),
        (lambda folder: rewrite(folder, "s/b.png", "../b.png"), "the size of '../b.png' is not known"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(
    change: Callable[[Path], object],
    message: str,
    regions: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(regions)
    with pytest.raises(InputError, match=message) as caught:
        export(regions, "coco", tmp_path / "out")
    assert main([str(regions), "--format", "coco", "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr() == ("", f"error: {caught.value}\n")
    assert not (tmp_path / "out").exists()


def rewrite(folder: Path, old: str, new: str) -> None:
    text = (folder / "regions.csv").read_text()
    assert old in text
    (folder / "regions.csv").write_text(text.replace(old, new))


def test_regions_of_no_slide_are_empty_files(regions: Path, tmp_path: Path) -> None:
    (regions / "regions.csv").write_text(REGIONS.split("\n")[0] + "\n")
    for kind in FORMATS:
        assert export(regions, kind, tmp_path / kind).startswith("0 boxes of 3 images")


def test_the_command_works_and_its_help_names_every_format(regions: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "activessf.interchange.export"]
    done = subprocess.run(
        [*command, str(regions), "--format", "yolo", "--output", str(tmp_path / "out"), "--label", "n"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"3 boxes of 3 images: {tmp_path / 'out'}\n" and done.stderr == ""
    assert (tmp_path / "out/classes.txt").read_text() == "n\n"


def test_help_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0 and all(f"\n  {kind} " in text for kind in FORMATS) and "data=annotated" in text


@pytest.mark.data
def test_the_white_cells_of_bccd_survive_being_written_as_voc(bccd: Path, tmp_path: Path) -> None:
    """Corners are compared as they stand in the files, without our reader."""
    corners, rows = {}, []
    for path in sorted((bccd / "Annotations").glob("*.xml"))[:40]:
        corners[path.stem] = [
            [int(str(item.findtext(f"bndbox/{side}"))) for side in ("xmin", "ymin", "xmax", "ymax")]
            for item in ElementTree.parse(path).iter("object")
        ]
        name = f"{path.stem}.jpg"
        rows += [[name, "n", x - 1, y - 1, right - x + 1, bottom - y + 1] for x, y, right, bottom in corners[path.stem]]
    with (tmp_path / "cells.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "label", "x", "y", "width", "height"], *rows])
    export(tmp_path / "cells.csv", "voc", tmp_path / "out", root=bccd / "JPEGImages")
    for stem, expected in corners.items():
        found = ElementTree.parse(tmp_path / "out" / f"{stem}.xml")
        boxes = [[int(str(side.text)) for side in item.iterfind("bndbox/*")] for item in found.iter("object")]
        assert boxes == expected
    assert len(pd.read_csv(tmp_path / "cells.csv")) == sum(map(len, corners.values())) > 300
