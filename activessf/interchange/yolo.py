"""YOLO: a text file an image with a line a box, in shares of the image, and a list of class names."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from activessf.errors import InputError
from activessf.interchange.cells import Malformed, Size, box, cell_table, checked, finite_text, shown, usable_text
from activessf.interchange.files import files_of_images, rows_of_files
from activessf.interchange.reading import naming, text_of
from activessf.manifests import write_text

_SUFFIX = ".txt"
_LABELS, _CLASSES, _DATA = "labels", "classes.txt", "data.yaml"
_FIELDS = ("class", "x_center", "y_center", "width", "height")
# Shares that other programs give are rounded.
_SLACK = 1e-6


def write_yolo(cells: pd.DataFrame, sizes: Mapping[str, Size], folder: Path) -> None:
    """Write cells as YOLO files: `labels/`, also for images without cells, `classes.txt` and `data.yaml`.

    Shares have all digits of a double, so that the pixels can be had back exactly. Groups, fill rates, areas and
    probabilities have no place in the format; that groups are lost is warned of.

    Args:
        cells: As `cells.checked` wants them.
        sizes: All images, with or without cells.
        folder: Where the files go, in the subfolders of their images.

    Raises:
        InputError: The cells can't be written.
    """
    table = checked(cells, sizes)
    if (table["group"] != "").any():
        warnings.warn("YOLO files have no place for groups: patients are not kept together by them.", stacklevel=2)
    labels = sorted(set(table["label"]))
    numbers = {label: number for number, label in enumerate(labels)}
    for image, name, rows in rows_of_files(table, sizes, _SUFFIX):
        lines = [_line(numbers[row["label"]], row, sizes[image]) for row in rows]
        write_text("".join(lines), folder / _LABELS / name)
    write_text("".join(f"{label}\n" for label in labels), folder / _CLASSES)
    names = {"names": dict(enumerate(labels))}
    write_text(yaml.safe_dump(names, allow_unicode=True, sort_keys=False, width=10_000), folder / _DATA)


def read_yolo(folder: Path, images: Collection[str], size_of: Callable[[str], Size]) -> pd.DataFrame:
    """The boxes of a folder of YOLO files, by image.

    Class names come from `data.yaml` or `classes.txt` in the folder or in the one above. A sixth number on a line is
    the probability.

    Args:
        folder: Of the text files.
        images: Paths of all images relative to the folder that `folder` mirrors.
        size_of: Width and height of an image, asked for those with boxes.

    Returns:
        Columns `cells.COLUMNS`; boxes in pixels, whole where they are to a millionth of a pixel.

    Raises:
        InputError: There are no class names, a line is no box with a known class, or as `files.files_of_images`.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; it should hold a {_SUFFIX} file an image.")
    labels = _class_names(folder)
    files = files_of_images(folder, images, _SUFFIX, but=[folder / _CLASSES])
    rows: list[dict[str, Any]] = []
    for image, path in files.items():
        with naming(path, "YOLO labels"):
            lines = [line.split() for line in text_of(path).splitlines()]
            if any(lines):
                size = size_of(image)
                rows += [
                    {"image": image, **_row(fields, f"line {number}", labels, size)}
                    for number, fields in enumerate(lines, start=1)
                    if fields
                ]
    return cell_table(rows)


def _line(number: int, row: Mapping[str, Any], size: Size) -> str:
    width, height = size
    x, y = (row["x"] + row["width"] / 2) / width, (row["y"] + row["height"] / 2) / height
    return f"{number} {x!r} {y!r} {row['width'] / width!r} {row['height'] / height!r}\n"


def _row(fields: list[str], where: str, labels: Mapping[int, str], size: Size) -> dict[str, Any]:
    if len(fields) not in (len(_FIELDS), len(_FIELDS) + 1):
        raise Malformed(f"{where} has {len(fields)} fields; a box has {len(_FIELDS)}: {' '.join(_FIELDS)}")
    number, *shares = (
        finite_text(text, f"{name} of {where}") for name, text in zip((*_FIELDS, "p"), fields, strict=False)
    )
    if number not in labels:
        raise Malformed(f"the class of {where} is {shown(fields[0])}, and the class names have no such number")
    x, y, width, height = shares[:4]
    if any(not -_SLACK <= share <= 1 + _SLACK for share in shares):
        raise Malformed(f"{where} has a value outside 0 to 1; positions and sizes are shares of the image")
    sides = (width * size[0], height * size[1])
    corner = (x * size[0] - sides[0] / 2, y * size[1] - sides[1] / 2)
    row: dict[str, Any] = {"label": labels[int(number)], **box((*corner, *sides), where)}
    return row | ({"score": shares[4]} if len(shares) == len(_FIELDS) else {})


def _class_names(folder: Path) -> dict[int, str]:
    for parent in (folder, folder.parent):
        readers = {_DATA: _names_in_yaml, _CLASSES: _names_in_text}
        found = [read(parent / name) for name, read in readers.items() if (parent / name).is_file()]
        if len(found) == 2 and found[0] != found[1]:
            raise InputError(f"{parent / _DATA} and {parent / _CLASSES} name different classes; take one away.")
        if found:
            return found[0]
    raise InputError(
        f"The class names are missing: {folder} and the folder above hold neither {_CLASSES}, with a name a line, nor "
        f"{_DATA}, with names."
    )


def _names_in_text(path: Path) -> dict[int, str]:
    with naming(path, "a list of class names"):
        text = text_of(path).rstrip()
        lines = text.split("\n") if text else []  # without a class where there is no cell
        return {number: usable_text(line.strip(), f"line {number + 1}") for number, line in enumerate(lines)}


def _names_in_yaml(path: Path) -> dict[int, str]:
    """Its `names`, a list or a mapping of numbers; texts as they stand there, so that `no` and `1.0` are names."""
    with naming(path, "a YOLO data file"):
        try:
            content = yaml.load(text_of(path), Loader=yaml.BaseLoader)
        except yaml.YAMLError as error:
            raise Malformed(f"it is no YAML ({' '.join(str(error).split())[:200]})") from error
        except RecursionError as error:
            raise Malformed("it is nested too deeply") from error
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, list):
            names = {str(number): name for number, name in enumerate(names)}
        if not isinstance(names, dict):
            raise Malformed("it has no names: a list, or numbers with names")
        if not all(isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 7 for key in names):
            raise Malformed("its names are not numbered 0, 1, 2, ...")
        return {int(key): usable_text(name, f"name {key}") for key, name in names.items()}
