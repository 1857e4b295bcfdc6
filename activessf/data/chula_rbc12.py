"""`data=chula_rbc12`: blood-smear fields with the centre point and type of every red cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from activessf.data.images import image_size
from activessf.data.source import Source, check_folder, existing_folder, images_below, make_source
from activessf.data.squares import square_round
from activessf.errors import InputError
from activessf.manifests import BOX


def chula_rbc12_source(
    root: str | None,
    images: str,
    labels: str,
    box_size: int,
    classes: Sequence[str],
    rare: Sequence[str],
    common: Sequence[str],
) -> Source:
    """Red cells labeled by type; every field is a slide too, and the group of its cells.

    A cell's box is the square of `box_size` pixels round its centre, moved inwards where it would leave the field.

    Args:
        root: Folder of the data set.
        images: Folder of the fields, relative to `root`.
        labels: Folder of the label files, relative to `root`: a line "x y type" a cell. A field without one is
            unlabeled.
        box_size: Side of the box, pixels.
        classes: Names of the types 0, 1, 2, ...
        rare: Classes that tables mark as rare.
        common: Classes that tables mark as common.

    Raises:
        InputError: A file or folder is missing, or a line is not three numbers with a known type and a centre inside
            the field.
    """
    base = existing_folder(root, "data.root")
    fields = images_below(base, images)
    check_folder(base / labels, "a text file of cell centres a field")
    rows: list[dict[str, object]] = []
    for field in fields:
        path = base / labels / (Path(field).stem + ".txt")
        if path.is_file():
            size = _size(base / field)
            rows += [
                {"image": field, "label": classes[kind], "group": field, **_box(x, y, box_size, size)}
                for x, y, kind in _points(path, len(classes), size)
            ]
    # Two cells at the border can have their boxes moved to the same place; one box has one label, that of the first.
    cells = pd.DataFrame(rows).drop_duplicates(["image", "x", "y"]) if rows else pd.DataFrame()
    return make_source(base, cells, fields, classes, rare, common)


def _size(path: Path) -> tuple[float, float]:
    """Height and width of a field; a broken one has no bounds, and its cells are left out when they are cut."""
    try:
        return image_size(path)
    except InputError:
        return math.inf, math.inf


def _points(path: Path, num_classes: int, size: tuple[float, float]) -> list[tuple[int, int, int]]:
    points = []
    # A byte that is no text then stands in a line that is no point.
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            x, y, kind = (int(float(word)) for word in line.split())
        except (ValueError, OverflowError) as error:
            raise InputError(f"{path}, line {number}: {line!r} is not 'x y type'.") from error
        if not 0 <= kind < num_classes:
            raise InputError(f"{path}, line {number}: type {kind} is none of 0 to {num_classes - 1}.")
        if not (0 <= y < size[0] and 0 <= x < size[1]):
            raise InputError(f"{path}, line {number}: ({x}, {y}) lies outside a field of {size[1]}x{size[0]} pixels.")
        points.append((x, y, kind))
    return points


def _box(x: int, y: int, box_size: int, size: tuple[float, float]) -> dict[str, int]:
    height, width = size
    return dict(zip(BOX, square_round(x, y, box_size, width, height), strict=True))
