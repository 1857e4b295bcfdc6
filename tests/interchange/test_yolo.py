from pathlib import Path

import pandas as pd
import pytest
import yaml

from activessf.errors import InputError
from activessf.interchange.yolo import read_yolo, write_yolo


def folder(tmp_path: Path, labels: str = "0 0.5 0.5 1 1\n", classes: str | None = "n\nm\n", data: str = "") -> Path:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_bytes(labels.encode())
    if classes is not None:
        (tmp_path / "classes.txt").write_bytes(classes.encode())
    if data:
        (tmp_path / "data.yaml").write_bytes(data.encode())
    return tmp_path / "labels"


def boxes(path: Path, size: tuple[int, int] = (640, 480)) -> list[list[object]]:
    cells = read_yolo(path, ["a.png"], lambda image: size)
    return cells[["label", "x", "y", "width", "height"]].to_numpy().tolist()


def test_lines_by_hand_are_shares_of_width_and_height_about_the_centre(tmp_path: Path) -> None:
    text = "1 0.5 0.25 0.1 0.5\r\n\r\n0 0.00078125 0.5 0.0015625 1 0.75\r\n"
    path = folder(tmp_path, text, classes="n\r\n m \r\n\r\n")
    assert boxes(path) == [["m", 288, 0, 64, 240], ["n", 0, 0, 1, 480]]
    scores = read_yolo(path, ["a.png"], lambda image: (640, 480))["score"]
    assert scores.isna().tolist() == [True, False] and scores[1] == 0.75


def test_six_digits_give_back_a_box_to_a_thousandth_of_a_pixel(tmp_path: Path) -> None:
    # x 101..134, y 7..12 in 1333 x 801, as labelling programs write it
    text = f"0 {117.5 / 1333:.6f} {9.5 / 801:.6f} {33 / 1333:.6f} {5 / 801:.6f}\n"
    ((_, *sides),) = boxes(folder(tmp_path, text), (1333, 801))
    assert sides == pytest.approx([101, 7, 33, 5], abs=2e-3)


def test_what_is_written_is_what_the_format_wants(tmp_path: Path) -> None:
    cells = pd.DataFrame(
        {
            "image": ["s/a.png"] * 2,
            "label": ["z", "no"],
            "x": [1.0, 0],
            "y": [2.0, 0],
            "width": [3, 8],
            "height": [4, 16],
        }
    )
    write_yolo(cells, {"s/a.png": (8, 16), "b.png": (4, 4)}, tmp_path)
    assert (tmp_path / "labels/s/a.txt").read_text() == "1 0.3125 0.25 0.375 0.25\n0 0.5 0.5 1.0 1.0\n"
    assert (tmp_path / "labels/b.txt").read_text() == ""
    assert (tmp_path / "classes.txt").read_text() == "no\nz\n"
    assert yaml.safe_load((tmp_path / "data.yaml").read_text()) == {"names": {0: "no", 1: "z"}}


@pytest.mark.parametrize(
    "data", ["names: [no, 1.0]", "names:\n  0: no\n  1: 1.0\nnc: 2\ntrain: x\n", "nc: 2\nnames:\n- 'no'\n- '1.0'\n"]
)
def test_names_in_yaml_are_texts_as_they_stand_there(data: str, tmp_path: Path) -> None:
    path = folder(tmp_path, "0 .5 .5 1 1\n1 .5 .5 .5 .5", classes=None, data=data)
    assert [row[0] for row in boxes(path)] == ["no", "1.0"]


@pytest.mark.filterwarnings("error")
def test_names_may_stand_beside_the_labels_and_are_no_labels(tmp_path: Path) -> None:
    path = folder(tmp_path, classes=None)
    (path / "classes.txt").write_text("k\n")
    assert boxes(path)[0][0] == "k"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 1", "line 1 has 4 fields; a box has 5: class x_center y_center width height"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2", "line 1 has 9 fields"),  # an outline
        ("2 0.5 0.5 1 1", "the class of line 1 is '2', and the class names have no such number"),
        ("0.5 0.5 0.5 1 1", "the class of line 1 is '0.5'"),
        ("-1 0.5 0.5 1 1", "the class of line 1 is '-1'"),
        ("n 0.5 0.5 1 1", "class of line 1 is 'n', which is no number"),
        ("\n0 0.5 x 1 1", "y_center of line 2 is 'x', which is no number"),
        ("0 nan 0.5 1 1", "x_center of line 1 is nan"),
        ("0 0.5 0.5 inf 1", "width of line 1 is inf"),
        ("0 320 240 64 64", "line 1 has a value outside 0 to 1"),
        ("0 0.5 0.5 -0.1 0.1", "line 1 has a value outside 0 to 1"),
        ("0 0.5 0.5 0 0.1", r"line 1 has no area \(width=0, height=48\)"),
    ],
)
def test_what_is_wrong_is_said_with_the_file_and_the_line(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"a\.txt can't be read as YOLO labels: {message}"):
        boxes(folder(tmp_path, line + "\n"))


@pytest.mark.parametrize(
    ("classes", "data", "message"),
    [
        (None, "", "The class names are missing: .*labels and the folder above hold neither classes.txt"),
        ("n\n\nm\n", "", r"classes\.txt can't be read as a list of class names: line 2 is ''"),
        ("n\n", "names: [m]", r"data\.yaml and .*classes\.txt name different classes"),
        (None, "names: 5", r"data\.yaml can't be read as a YOLO data file: it has no names"),
        (None, "- a", "it has no names"),
        (None, "names: {a: b}", "its names are not numbered"),
        (None, "names: [[a]]", r"name 0 is \['a'\]; it must be a text"),
        (None, "names: [a", "it is no YAML"),
        (None, "names: &a [*a]", "it is no YAML"),
        (None, "names: " + "[" * 3000, "data.yaml can't be read as a YOLO data file: it"),
        (None, "a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]", "name 0 is"),
    ],
)
def test_class_names_that_can_not_be_read_are_said(
    classes: str | None, data: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        boxes(folder(tmp_path, classes=classes, data=data))
    assert "\n" not in str(caught.value)


def test_only_images_with_boxes_are_asked_for_their_size(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (path / "b.txt").write_text("\n")
    asked: list[str] = []
    read_yolo(path, ["a.png", "b.png", "c.png"], lambda image: asked.append(image) or (2, 2))  # type: ignore[func-returns-value]
    assert asked == ["a.png"]
