import json
import uuid
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from activessf.errors import InputError
from activessf.interchange.geojson import read_geojson, write_geojson


def feature(geometry: dict[str, Any] | None = None, **properties: Any) -> dict[str, Any]:
    """An object as QuPath 0.5 exports it."""
    triangle = {"type": "Polygon", "coordinates": [[[10, 20], [13.5, 20], [12, 26], [10, 20]]]}
    return {
        "type": "Feature",
        "id": "d9f0a1de-6b4a-4a6e-8b6c-0d3d5f4b2a11",
        "geometry": triangle if geometry is None else geometry,
        "properties": {"objectType": "annotation", "classification": {"name": "n", "color": [200, 0, 0]}} | properties,
    }


def polygon(*points: list[float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[*points]]}


def read(tmp_path: Path, content: Any) -> pd.DataFrame:
    (tmp_path / "a.geojson").write_text(json.dumps(content))
    return read_geojson(tmp_path, ["a.png"])


TRIANGLE = ["a.png", "n", 10, 20, 3.5, 6]
COLUMNS = ["image", "label", "x", "y", "width", "height"]


@pytest.mark.parametrize(
    "content",
    [{"type": "FeatureCollection", "features": [feature()]}, [feature()], feature()],
    ids=["all", "list", "one"],
)
def test_a_collection_a_list_and_a_single_object_are_read_by_their_bounds(content: Any, tmp_path: Path) -> None:
    assert read(tmp_path, content)[COLUMNS].to_numpy().tolist() == [TRIANGLE]


def test_outlines_of_several_parts_with_holes_and_planes_are_read_by_their_bounds(tmp_path: Path) -> None:
    hole = [[2, 2], [3, 2], [3, 3], [2, 2]]
    parts = [[[[1, 1], [5, 1], [5, 5], [1, 1]], hole], [[[8, 0, 0], [9, 0, 0], [9, 2, 0], [8, 0, 0]]]]
    geometry = {"type": "MultiPolygon", "coordinates": parts, "plane": {"c": -1, "z": 0, "t": 0}}
    cells = read(tmp_path, feature(geometry, isLocked=True, name="x"))
    assert cells[COLUMNS].to_numpy().tolist() == [["a.png", "n", 1, 0, 8, 5]]


@pytest.mark.parametrize(
    ("classification", "label"),
    [
        ({"name": "n", "color": [1, 2, 3]}, "n"),
        ({"name": "n", "colorRGB": -3670016}, "n"),  # before 0.4
        ({"names": ["Tumor", "Positive"], "color": [1, 2, 3]}, "Tumor: Positive"),
        ("n", "n"),
    ],
)
def test_classes_are_read_as_every_version_gives_them(classification: Any, label: str, tmp_path: Path) -> None:
    assert read(tmp_path, feature(classification=classification))["label"].tolist() == [label]


@pytest.mark.parametrize(
    "measurements",
    [
        {"fill_rate": 0.5, "score": 0.25, "Nucleus: Area": 7},
        [{"name": "fill_rate", "value": 0.5}, {"name": "score", "value": 0.25}, {"name": "Area", "value": 7}, {}],
    ],
)
def test_measurements_are_read_as_every_version_gives_them(measurements: Any, tmp_path: Path) -> None:
    (row,) = read(tmp_path, feature(measurements=measurements)).to_dict("records")
    assert (row["fill_rate"], row["score"]) == (0.5, 0.25) and pd.isna(row["area"])


def test_a_measurement_that_failed_in_qupath_is_unknown(tmp_path: Path) -> None:
    measurements = {"score": float("nan"), "Nucleus: Mean": float("nan")}
    (tmp_path / "a.geojson").write_text(json.dumps(feature(measurements=measurements)))
    assert "NaN" in (tmp_path / "a.geojson").read_text()
    assert read_geojson(tmp_path, ["a.png"])["score"].isna().all()


CELLS = pd.DataFrame(
    {"image": ["s/a.png"] * 3, "label": ["z", "y", "z"], "x": [1.0, 0, 1], "y": [2, 0.5, 2], "width": [3, 1, 3]}
).assign(height=[4, 2, 4], fill_rate=[0.75, None, None], area=[9, None, None], group=["p", "", ""])


def test_what_is_written_is_what_qupath_takes(tmp_path: Path) -> None:
    write_geojson(CELLS, ["s/a.png", "b.png"], tmp_path)
    content = json.loads((tmp_path / "s/a.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    first, second, third = content["features"]
    assert first["type"] == "Feature"
    assert first["geometry"] == polygon([1, 2], [4, 2], [4, 6], [1, 6], [1, 2])  # closed
    assert second["geometry"] == polygon([0, 0.5], [1, 0.5], [1, 2.5], [0, 2.5], [0, 0.5])
    properties = first["properties"]
    assert properties["objectType"] == "annotation" and properties["metadata"] == {"group": "p"}
    assert properties["measurements"] == {"fill_rate": 0.75, "area": 9}
    assert set(second["properties"]) == {"objectType", "classification"}
    classes = [item["properties"]["classification"] for item in content["features"]]
    assert [item["name"] for item in classes] == ["z", "y", "z"] and classes[0] == classes[2]
    assert classes[0]["color"] != classes[1]["color"]
    assert all(type(value) is int and 0 <= value <= 255 for item in classes for value in item["color"])
    assert all(len(item["color"]) == 3 for item in classes)
    ids = [first["id"], second["id"], third["id"]]
    assert len(set(ids)) == 3 and all(str(uuid.UUID(text)) == text for text in ids)
    assert json.loads((tmp_path / "b.geojson").read_text()) == {"type": "FeatureCollection", "features": []}


def test_ids_are_the_same_each_time_and_differ_between_images(tmp_path: Path) -> None:
    def ids(image: str, folder: Path) -> list[str]:
        write_geojson(CELLS.assign(image=image), [image], folder)
        content = json.loads((folder / image).with_suffix(".geojson").read_text())
        return [item["id"] for item in content["features"]]

    assert ids("a.png", tmp_path / "1") == ids("a.png", tmp_path / "2")
    assert not set(ids("a.png", tmp_path / "1")) & set(ids("b.png", tmp_path / "3"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            feature({"type": "Point", "coordinates": [1, 2]}),
            r"the geometry of object 1 \(n\) is 'Point', which has no box",
        ),
        (feature({"type": "MultiPoint", "coordinates": [[1, 2]]}), "is 'MultiPoint', which has no box; draw polygons"),
        (feature({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}), "is 'LineString'"),
        (feature({}), "is None, which has no box"),
        (feature() | {"geometry": None}, "is None, which has no box"),
        (feature(polygon([1, 2], [5, 2], [1, 2])), r"object 1 \(n\) has no area \(width=4, height=0\)"),
        (feature(polygon([1, 2], ["5", 2], [5, 5])), r"a point of object 1 \(n\) is '5', which is no number"),
        (feature(polygon([1, 2], [float("nan"), 2], [5, 5])), r"a point of object 1 \(n\) is nan"),
        (feature(polygon([1, 2], [5], [5, 5])), "has a point that is not two numbers"),
        (feature({"type": "Polygon", "coordinates": [[1, 2], [3, 4]]}), "is no list of points"),
        (feature({"type": "Polygon", "coordinates": []}), "has no points"),
        (feature({"type": "Polygon"}), "is no list of points"),
        (feature(classification=None), "object 1 has no class; give it one, or delete it"),
        (feature(classification={}), "object 1 has no class"),
        (feature(classification={"name": ""}), "the class of object 1 is ''"),
        (feature(classification={"names": [["x"]]}), "object 1 has no class"),
        (feature(classification=5), "the class of object 1 is 5"),
        (feature(measurements={"area": "9"}), r"area of object 1 \(n\) is '9', which is no number"),
        (feature(measurements=5), "the measurements of object 1"),
        (feature(metadata={"group": 5}), "the group of object 1"),
        (feature() | {"properties": None}, "object 1 is no Feature with properties"),
        ([feature(), {"type": "Polygon"}], "object 2 is no Feature"),
        ({"type": "FeatureCollection"}, "its features is no list of objects"),
        ({"type": "Polygon"}, "it is neither a FeatureCollection nor a Feature nor a list"),
        ([1], "it is no list of objects"),
        ("x", "it is neither"),
    ],
)
def test_what_is_wrong_is_said_with_the_file_and_the_object(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"a\.geojson can't be read as QuPath's GeoJSON: .*{message}"):
        read(tmp_path, content)
