"""Pascal VOC: an XML file an image, with inclusive corners that count from 1."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from activessf.interchange.cells import Malformed, Size, box, cell_table, checked, finite_text, usable_text, whole
from activessf.interchange.files import files_of_images, rows_of_files
from activessf.interchange.reading import naming, xml_of
from activessf.manifests import write_text

_SUFFIX = ".xml"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def write_voc(cells: pd.DataFrame, sizes: Mapping[str, Size], folder: Path) -> None:
    """Write cells as Pascal VOC files, for images without cells too.

    The pixel in the top left corner is (1, 1), and a box of one pixel has xmin = xmax; the same sums hold for boxes
    with fractions. The group stands in an element of its own; fill rate, area and probability have no place.

    Args:
        cells: As `cells.checked` wants them.
        sizes: All images, with or without cells.
        folder: Where the files go, in the subfolders of their images.

    Raises:
        InputError: The cells can't be written.
    """
    table = checked(cells, sizes)
    for image, name, rows in rows_of_files(table, sizes, _SUFFIX):
        root = ElementTree.Element("annotation")
        _put(root, {"filename": Path(image).name, "size": _size(sizes[image]), "segmented": 0})
        for row in rows:
            _put(ElementTree.SubElement(root, "object"), _object(row))
        ElementTree.indent(root)
        text = ElementTree.tostring(root, encoding="unicode")
        write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n', folder / name)


def read_voc(folder: Path, images: Collection[str]) -> pd.DataFrame:
    """The boxes of a folder of Pascal VOC files, by image; `files` says which file is whose, not what stands in it.

    Args:
        folder: Of the files.
        images: Paths of all images relative to the folder that `folder` mirrors.

    Returns:
        Columns `cells.COLUMNS`.

    Raises:
        InputError: As `read_voc_file` and `files.files_of_images`.
    """
    files = files_of_images(folder, images, _SUFFIX)
    return cell_table([{"image": image, **row} for image, path in files.items() for row in read_voc_file(path)])


def read_voc_file(path: Path, only: str | None = None) -> list[dict[str, Any]]:
    """The boxes of one Pascal VOC file, cut off at the border of the image.

    Args:
        path: The file.
        only: Name of the objects that count; None = all.

    Returns:
        For each object label, x, y, width, height in pixels, origin top left, and the group if it has one.

    Raises:
        InputError: The file can't be read, or an object lacks a name or four corners with an area inside the image.
    """
    with naming(path, "a Pascal VOC annotation"):
        root = xml_of(path)
        width, height = (_side(root, side) for side in ("width", "height"))
        return [
            _row(item, f"object {number}", width, height)
            for number, item in enumerate(root.iter("object"), start=1)
            if only is None or item.findtext("name") == only
        ]


def _size(size: Size) -> dict[str, int]:
    return {"width": size[0], "height": size[1], "depth": 3}


def _object(row: Mapping[str, Any]) -> dict[str, Any]:
    corners = (row["x"] + 1, row["y"] + 1, row["x"] + row["width"], row["y"] + row["height"])
    return {
        "name": row["label"],
        "pose": "Unspecified",
        "truncated": 0,
        "difficult": 0,
        **({"group": row["group"]} if row["group"] else {}),
        "bndbox": {name: whole(value) for name, value in zip(_CORNERS, corners, strict=True)},
    }


def _put(parent: ElementTree.Element, content: Mapping[str, Any]) -> None:
    for name, value in content.items():
        child = ElementTree.SubElement(parent, name)
        if isinstance(value, Mapping):
            _put(child, value)
        else:
            child.text = str(value)


def _side(root: ElementTree.Element, name: str) -> float:
    value = finite_text(root.findtext(f"size/{name}", ""), f"the image's {name} (size/{name})")
    if value < 1:
        raise Malformed(f"the image's {name} (size/{name}) is {whole(value)}")
    return value


def _row(item: ElementTree.Element, where: str, width: float, height: float) -> dict[str, Any]:
    label = usable_text(item.findtext("name"), f"the name of {where}")
    left, top, right, bottom = (
        finite_text(item.findtext(f"bndbox/{corner}", ""), f"{corner} of {where} ({label})") for corner in _CORNERS
    )
    left, top, right, bottom = max(left - 1, 0.0), max(top - 1, 0.0), min(right, width), min(bottom, height)
    row = {"label": label, **box((left, top, right - left, bottom - top), f"{where} ({label})")}
    group = item.findtext("group", "")
    return row | ({"group": usable_text(group, f"the group of {where}")} if group.strip() else {})
