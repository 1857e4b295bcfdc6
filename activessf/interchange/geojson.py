"""GeoJSON as QuPath writes and takes it: a file an image, with an object a cell."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from activessf.interchange.cells import (
    MEASUREMENTS,
    Malformed,
    box,
    cell_table,
    checked,
    finite,
    shown,
    usable_text,
    whole,
)
from activessf.interchange.files import files_of_images, rows_of_files
from activessf.interchange.reading import json_of, naming, objects
from activessf.manifests import BOX, write_text

_SUFFIX = ".geojson"
_NAMESPACE = uuid.UUID("6f0c5c0e-6f0b-5c5b-9d55-0b6b8a1f3c11")
# Colours that are told apart with defective colour vision too (Okabe and Ito), RGB.
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


def write_geojson(cells: pd.DataFrame, images: Collection[str], folder: Path) -> None:
    """Write cells as files that can be dropped onto their image in QuPath (0.4 or newer), for images without cells too.

    The objects are annotations, not detections: only these can be moved, resized and reclassified by hand, which is
    what cells are sent to QuPath for. Fill rate, area and probability are measurements, the group is metadata. Ids
    depend on image, box and position in the table alone, so the same cells have the same ids.

    Args:
        cells: As `cells.checked` wants them.
        images: All images, with or without cells.
        folder: Where the files go, in the subfolders of their images.

    Raises:
        InputError: The cells can't be written.
    """
    table = checked(cells, images)
    colours = {label: _COLOURS[n % len(_COLOURS)] for n, label in enumerate(sorted(set(table["label"])))}
    for _, name, rows in rows_of_files(table, images, _SUFFIX):
        features = [_feature(number, row, colours[row["label"]]) for number, row in enumerate(rows)]
        content = {"type": "FeatureCollection", "features": features}
        write_text(json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n", folder / name)


def read_geojson(folder: Path, images: Collection[str]) -> pd.DataFrame:
    """The bounding boxes of the outlines in a folder of GeoJSON files, by image.

    A file holds a FeatureCollection, a list of Features or a single one; outlines are polygons of any shape.

    Args:
        folder: Of the files.
        images: Paths of all images relative to the folder that `folder` mirrors.

    Returns:
        Columns `cells.COLUMNS`.

    Raises:
        InputError: A file can't be read, an object is no outline with an area or has no class, or as
            `files.files_of_images`.
    """
    rows = []
    for image, path in files_of_images(folder, images, _SUFFIX).items():
        with naming(path, "QuPath's GeoJSON"):
            features = _features(json_of(path))
            rows += [{"image": image, **_row(item, f"object {n}")} for n, item in enumerate(features, start=1)]
    return cell_table(rows)


def _feature(number: int, row: Mapping[str, Any], colour: tuple[int, int, int]) -> dict[str, Any]:
    sides = [whole(row[side]) for side in BOX]
    x, y, width, height = sides
    right, bottom = whole(x + width), whole(y + height)
    measurements = {name: whole(row[name]) for name in MEASUREMENTS if not pd.isna(row[name])}
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, json.dumps([row["image"], number, sides]))),
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[x, y], [right, y], [right, bottom], [x, bottom], [x, y]]],
        },
        "properties": {
            "objectType": "annotation",
            "classification": {"name": row["label"], "color": list(colour)},
            **({"measurements": measurements} if measurements else {}),
            **({"metadata": {"group": row["group"]}} if row["group"] else {}),
        },
    }


def _features(content: Any) -> list[dict[str, Any]]:
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "FeatureCollection":
        return objects(content.get("features"), "its features")
    if kind == "Feature":
        return [content]
    if not isinstance(content, list):
        raise Malformed("it is neither a FeatureCollection nor a Feature nor a list of Features")
    return objects(content, "it")


def _row(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    properties = item.get("properties")
    if item.get("type") != "Feature" or not isinstance(properties, dict):
        raise Malformed(f"{where} is no Feature with properties")
    label = _class_name(properties.get("classification"), where)
    where = f"{where} ({label})"
    row = {"label": label, **_bounding_box(item.get("geometry"), where), **_measurements(properties, where)}
    metadata = properties.get("metadata")
    if isinstance(metadata, dict) and metadata.get("group"):
        row["group"] = usable_text(metadata["group"], f"the group of {where}")
    return row


def _class_name(classification: Any, where: str) -> str:
    """QuPath gives a class as name or, where it is derived from others, as names, which it shows joined by colons."""
    if isinstance(classification, dict):
        names = classification.get("names")
        parts = names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []
        classification = classification.get("name", ": ".join(parts) or None)
    if classification is None:
        raise Malformed(f"{where} has no class; give it one, or delete it")
    return usable_text(classification, f"the class of {where}")


def _bounding_box(geometry: Any, where: str) -> dict[str, float]:
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        raise Malformed(f"the geometry of {where} is {shown(kind)}, which has no box; draw polygons or rectangles")
    points = list(_points(geometry.get("coordinates"), where, depth=2 if kind == "Polygon" else 3))
    if not points:
        raise Malformed(f"the outline of {where} has no points")
    columns, rows = zip(*points, strict=True)
    x, y = min(columns), min(rows)
    return box((x, y, max(columns) - x, max(rows) - y), where)


def _points(coordinates: Any, where: str, depth: int) -> Iterator[tuple[float, float]]:
    """The points of lists that are nested `depth` times."""
    if not isinstance(coordinates, list):
        raise Malformed(f"the outline of {where} is no list of points")
    if depth:
        for part in coordinates:
            yield from _points(part, where, depth - 1)
    elif len(coordinates) < 2:
        raise Malformed(f"the outline of {where} has a point that is not two numbers")
    else:
        yield finite(coordinates[0], f"a point of {where}"), finite(coordinates[1], f"a point of {where}")


def _measurements(properties: Mapping[str, Any], where: str) -> dict[str, float]:
    """Those that we know; up to QuPath 0.3 they are a list of names and values."""
    given = properties.get("measurements") or {}
    if isinstance(given, list):
        items = objects(given, f"the measurements of {where}")
        given = {item["name"]: item.get("value") for item in items if isinstance(item.get("name"), str)}
    if not isinstance(given, dict):
        raise Malformed(f"the measurements of {where} are neither an object nor a list")
    known = {name: given[name] for name in MEASUREMENTS if name in given}
    # NaN is a measurement that failed, and the only value that differs from itself.
    return {name: finite(value, f"{name} of {where}") for name, value in known.items() if value == value}
