import json
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from activessf.errors import InputError
from activessf.interchange.coco import read_coco, write_coco


def content(**changes: Any) -> dict[str, Any]:
    """A file as the format's description has it (cocodataset.org, Data format), with keys that we don't need."""
    return {
        "info": {"year": 2024, "version": "1", "contributor": "x"},
        "licenses": [{"id": 1, "name": "MIT", "url": "http://x"}],
        "images": [
            {"id": 7, "width": 640, "height": 480, "file_name": "a.jpg", "license": 1, "date_captured": "2024"},
            {"id": 3, "width": 64, "height": 48, "file_name": "sub/b.jpg"},
        ],
        "annotations": [
            {"id": 11, "image_id": 3, "category_id": 20, "bbox": [1, 2.5, 3, 4], "area": 12, "iscrowd": 0},
            {"id": 5, "image_id": 7, "category_id": 10, "bbox": [258.15, 41.29, 348.26, 243.78], "segmentation": [[1]]},
        ],
        "categories": [{"id": 10, "name": "n", "supercategory": "cell"}, {"id": 20, "name": "m"}],
    } | changes


def saved(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_a_file_by_hand_is_read_in_its_order_whatever_the_ids_are(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cells = read_coco(saved(tmp_path / "a.json", content()))
    assert cells[["image", "label", "x", "y", "width", "height", "group"]].to_numpy().tolist() == [
        ["sub/b.jpg", "m", 1, 2.5, 3, 4, ""],
        ["a.jpg", "n", 258.15, 41.29, 348.26, 243.78, ""],
    ]


def test_what_is_written_is_what_the_format_wants(tmp_path: Path) -> None:
    cells = pd.DataFrame(
        {
            "image": ["b.png", "a.png"],
            "label": ["z", "y"],
            "x": [1.0, 0.5],
            "y": [2, 0],
            "width": [3, 1],
            "height": [4, 1],
        }
    ).assign(fill_rate=[0.75, None], area=[9, None], score=[None, 0.5], group=["p", ""])
    write_coco(cells, {"a.png": (20, 10), "b.png": (40, 30), "c.png": (5, 5)}, tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text()) == {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 20, "height": 10},
            {"id": 2, "file_name": "b.png", "width": 40, "height": 30},
            {"id": 3, "file_name": "c.png", "width": 5, "height": 5},
        ],
        "annotations": [
            {
                "id": 1, "image_id": 2, "category_id": 2, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0,
                "segmentation": [], "attributes": {"fill_rate": 0.75, "area": 9, "group": "p"},
            },
            {
                "id": 2, "image_id": 1, "category_id": 1, "bbox": [0.5, 0, 1, 1], "area": 1, "iscrowd": 0,
                "segmentation": [], "score": 0.5,
            },
        ],
        "categories": [{"id": 1, "name": "y"}, {"id": 2, "name": "z"}],
    }  # fmt: skip
    assert '"bbox": [1, 2, 3, 4]' in (tmp_path / "c.json").read_text()  # no 1.0


def test_crowds_are_left_out_and_counted(tmp_path: Path) -> None:
    value = content()
    value["annotations"][0]["iscrowd"] = 1
    with pytest.warns(UserWarning, match=r"^1 annotation\(s\) of crowds"):
        assert read_coco(saved(tmp_path / "a.json", value))["label"].tolist() == ["n"]


def test_attributes_of_other_programs_are_passed_over(tmp_path: Path) -> None:
    value = content()
    value["annotations"][0]["attributes"] = {"occluded": False, "group": 0, "rotation": 0.0}
    value["annotations"][1]["attributes"] = ["x"]
    assert read_coco(saved(tmp_path / "a.json", value))["group"].tolist() == ["", ""]


def test_backslashes_from_windows_are_slashes(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": "sub\\deep\\a.jpg"}, {"id": 3, "file_name": ".\\b.jpg"}]
    found = read_coco(saved(tmp_path / "a.json", content(images=images)))
    assert found["image"].tolist() == ["b.jpg", "sub/deep/a.jpg"]


@pytest.mark.parametrize(
    "name",
    ["../a.jpg", "a/../../b.jpg", "/etc/passwd", "C:\\data\\a.jpg", "..\\a.jpg", "\\\\host\\a.jpg", ".", "..", ""],
)
def test_paths_that_leave_the_folder_of_images_are_refused(name: str, tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": name}, {"id": 3, "file_name": "b.jpg"}]
    with pytest.raises(InputError, match=r"a\.json can't be read as a COCO file: .*path"):
        read_coco(saved(tmp_path / "a.json", content(images=images)))


@pytest.mark.parametrize(
    ("part", "position", "changes", "message"),
    [
        ("annotations", 0, {"id": 5}, "the id 5 is that of two items of its annotations"),
        ("images", 0, {"id": 3}, "the id 3 is that of two items of its images"),
        ("categories", 0, {"id": 20}, "the id 20 is that of two items of its categories"),
        ("images", 0, {"id": "7"}, "the id of item 1 of its images is '7', which is no whole number"),
        ("images", 0, {"id": True}, "the id of item 1 of its images is True"),
        ("annotations", 1, {"id": None}, "the id of item 2 of its annotations is None"),
        ("images", 0, {"file_name": "sub/b.jpg"}, r"2 items of its images have the file_name 'sub/b\.jpg'"),
        ("images", 0, {"file_name": 5}, "an image's path is 5; it must be a text"),
        ("annotations", 0, {"image_id": 99}, "the image_id of annotation 11 is 99, which is the id of no image"),
        ("annotations", 0, {"image_id": "3"}, "the image_id of annotation 11 is '3'"),
        ("annotations", 0, {"category_id": 1}, "the category_id of annotation 11 is 1, which is the id of no category"),
        ("annotations", 0, {"category_id": [20]}, r"the category_id of annotation 11 is \[20\]"),
        ("annotations", 0, {"bbox": [1, 2, 3]}, r"the bbox of annotation 11 is \[1, 2, 3\], not"),
        ("annotations", 0, {"bbox": None}, "the bbox of annotation 11 is None"),
        ("annotations", 0, {"bbox": [1, 2, "3", 4]}, "width of annotation 11 is '3', which is no number"),
        ("annotations", 0, {"bbox": [1, 2, 3, 0]}, r"annotation 11 has no area \(width=3, height=0\)"),
        ("annotations", 0, {"bbox": [1, 2, -3, 4]}, r"annotation 11 has no area \(width=-3, height=4\)"),
        ("annotations", 0, {"bbox": [1, 2, float("nan"), 4]}, "width of annotation 11 is nan, which is not a finite"),
        ("annotations", 0, {"bbox": [float("-inf"), 2, 3, 4]}, "x of annotation 11 is -inf"),
        ("annotations", 0, {"bbox": [10**400, 2, 3, 4]}, "x of annotation 11 is 1000"),
        ("annotations", 0, {"bbox": [1e10, 2, 3, 4]}, "x of annotation 11 is 10000000000, which is no position"),
        ("categories", 0, {"name": " "}, "the name of category 10 is ' '; it must be a text"),
        ("categories", 0, {"name": "a\ud800"}, "the name of category 10 is 'a.ud800', with"),
    ],
)
def test_what_is_wrong_is_said_with_the_file_and_the_item(
    part: str, position: int, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    value = content()
    value[part][position] |= changes
    with pytest.raises(InputError, match=rf"a\.json can't be read as a COCO file: {message}"):
        read_coco(saved(tmp_path / "a.json", value))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "it is no JSON object"),
        ({"annotations": [], "categories": []}, "its images is no list of objects"),
        (content(annotations={}), "its annotations is no list of objects"),
        (content(categories=[1]), "its categories is no list of objects"),
    ],
)
def test_another_json_file_is_refused(value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_coco(saved(tmp_path / "a.json", value))


def test_a_folder_in_place_of_the_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't be opened: Is a directory"):
        read_coco(tmp_path)
