"""COCO: one JSON file with the lists images, annotations and categories."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from activessf.interchange.cells import (
    Malformed,
    Size,
    box,
    cell_table,
    checked,
    finite,
    image_path,
    shown,
    usable_text,
    whole,
)
from activessf.interchange.reading import json_of, naming, objects, warn_left_out
from activessf.manifests import BOX, write_text

_KIND = "a COCO file"


def write_coco(cells: pd.DataFrame, sizes: Mapping[str, Size], path: Path) -> None:
    """Write cells as a COCO file.

    Its `area` is that of the box, as there are no outlines; a region's own pixels, its fill rate and the group stand in
    `attributes`, the probability in `score`.

    Args:
        cells: As `cells.checked` wants them.
        sizes: All images, in their order, with or without cells.
        path: The file to write.

    Raises:
        InputError: The cells can't be written.
    """
    table = checked(cells, sizes)
    images = {image: number for number, image in enumerate(sizes, start=1)}
    labels = {label: number for number, label in enumerate(sorted(set(table["label"])), start=1)}
    content = {
        "images": [
            {"id": images[image], "file_name": image, "width": width, "height": height}
            for image, (width, height) in sizes.items()
        ],
        "annotations": [
            {"id": number, "image_id": images[row["image"]], "category_id": labels[row["label"]], **_annotation(row)}
            for number, row in enumerate(table.to_dict("records"), start=1)
        ],
        "categories": [{"id": number, "name": label} for label, number in labels.items()],
    }
    write_text(json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n", path)


def read_coco(path: Path) -> pd.DataFrame:
    """The boxes of a COCO file, in its order; keys that we don't know are passed over.

    Annotations of crowds, whose boxes hold many objects, are left out with a warning.

    Returns:
        Columns `cells.COLUMNS`; images are the file's `file_name`, with slashes between folders.

    Raises:
        InputError: The file can't be read, an id is missing, double or points nowhere, or a box or name is none.
    """
    with naming(path, _KIND):
        content = json_of(path)
        if not isinstance(content, dict):
            raise Malformed("it is no JSON object")
        images = _by_id(content, "images")
        categories = _by_id(content, "categories")
        names = _image_names(images)
        labels = {key: usable_text(item.get("name"), f"the name of category {key}") for key, item in categories.items()}
        annotations = _by_id(content, "annotations")
        single = {key: item for key, item in annotations.items() if not item.get("iscrowd")}
        rows = [_row(key, item, names, labels) for key, item in single.items()]
    warn_left_out(len(annotations) - len(single), f"annotation(s) of crowds (iscrowd) in {path} are left out.")
    return cell_table(rows)


def _annotation(row: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: row[name] for name in ("fill_rate", "area") if not pd.isna(row[name])}
    attributes = {name: whole(value) for name, value in known.items()} | (
        {"group": row["group"]} if row["group"] else {}
    )
    return {
        "bbox": [whole(row[side]) for side in BOX],
        "area": whole(row["width"] * row["height"]),
        "iscrowd": 0,
        "segmentation": [],
        **({} if pd.isna(row["score"]) else {"score": whole(row["score"])}),
        **({"attributes": attributes} if attributes else {}),
    }


def _by_id(content: Mapping[str, Any], name: str) -> dict[int, dict[str, Any]]:
    items: dict[int, dict[str, Any]] = {}
    for position, item in enumerate(objects(content.get(name), f"its {name}"), start=1):
        key = item.get("id")
        if isinstance(key, bool) or not isinstance(key, int):
            raise Malformed(f"the id of item {position} of its {name} is {shown(key)}, which is no whole number")
        if key in items:
            raise Malformed(f"the id {key} is that of two items of its {name}")
        items[key] = item
    return items


def _image_names(images: Mapping[int, Mapping[str, Any]]) -> dict[int, str]:
    names = {key: image_path(item.get("file_name")) for key, item in images.items()}
    name, times = Counter(names.values()).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise Malformed(f"{times} items of its images have the file_name {name!r}")
    return names


def _row(key: int, item: Mapping[str, Any], names: Mapping[int, str], labels: Mapping[int, str]) -> dict[str, Any]:
    where = f"annotation {key}"
    image, category, sides = item.get("image_id", ""), item.get("category_id", ""), item.get("bbox")
    for value, known, kind in ((image, names, "image"), (category, labels, "category")):
        if isinstance(value, bool) or not isinstance(value, int) or value not in known:
            raise Malformed(f"the {kind}_id of {where} is {shown(value)}, which is the id of no {kind}")
    if not isinstance(sides, list) or len(sides) != len(BOX):
        raise Malformed(f"the bbox of {where} is {shown(sides)}, not [x, y, width, height]")
    row = {"image": names[image], "label": labels[category], **box(sides, where), **_extra(item, where)}
    if item.get("score") is not None:
        row["score"] = finite(item["score"], f"score of {where}")
    return row


def _extra(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What `write_coco` has added, if it is there; other programs keep other things in attributes."""
    attributes = item.get("attributes")
    if not isinstance(attributes, dict):
        return {}
    found: dict[str, Any] = {
        name: finite(attributes[name], f"{name} of {where}") for name in ("fill_rate", "area") if name in attributes
    }
    if isinstance(attributes.get("group"), str) and attributes["group"]:
        found["group"] = usable_text(attributes["group"], f"the group of {where}")
    return found
