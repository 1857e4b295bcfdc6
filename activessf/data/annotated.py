"""`data=annotated`: cells boxed and classified in another program, as COCO, Pascal VOC, YOLO or QuPath's GeoJSON."""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from activessf.data.groups import GroupPattern
from activessf.data.slide_files import slide_size
from activessf.data.source import Source, existing_folder, images_below, make_source
from activessf.errors import InputError
from activessf.interchange.coco import read_coco
from activessf.interchange.geojson import read_geojson
from activessf.interchange.voc import read_voc
from activessf.interchange.yolo import read_yolo
from activessf.manifests import BOX


def annotated_source(
    root: str | None,
    format: str,
    annotations: str,
    images: str,
    slides: str | None,
    classes: Sequence[str] | None,
    group_pattern: str | None,
    rare: Sequence[str],
    common: Sequence[str],
) -> Source:
    r"""Labeled cells from annotation files, the name of an object's class being its label.

    Args:
        root: Folder of the data.
        format: `coco`, `voc`, `yolo` or `geojson`.
        annotations: The COCO file, or the folder of the other formats' files, which have the names and subfolders of
            their images; relative to `root`, or absolute.
        images: Folder of the annotated images, relative to `root`; a COCO file's `file_name` is relative to it.
        slides: Folder of the slides, relative to `root`; None = that of the images.
        classes: Classes to read, in the order of tables; None = all, sorted. Objects of others are left out with a
            warning.
        group_pattern: Regular expression searched in an image's path below `images`, or a slide's below `slides`; its
            first group is the patient or slide, e.g. `^([^_]+)_`. None = the groups that the files give, if any.
        rare: Classes that tables mark as rare.
        common: Classes that tables mark as common.

    Raises:
        InputError: A file or folder is missing or can't be read, an object has no class, or the pattern is none or
            fits no name.
    """
    base = existing_folder(root, "data.root")
    pattern = None if group_pattern is None else GroupPattern(group_pattern)
    cells = _read(base, format, base / annotations, images)
    if cells.empty:
        raise InputError(f"The annotations in {base / annotations} hold no cell; check data.annotations.")
    cells["image"] = [posixpath.normpath(posixpath.join(images, image)) for image in cells["image"]]
    if pattern is not None:
        cells["group"] = [pattern.of(image, images) for image in cells["image"]]
    folder = images if slides is None else slides
    found = images_below(base, folder)
    known = {} if pattern is None else pattern.known(found, folder)
    wanted = None if classes is None else [str(name) for name in classes]
    return make_source(base, _of_classes(cells, wanted), found, wanted, rare, common, known)


def _read(base: Path, kind: str, path: Path, images: str) -> pd.DataFrame:
    """The cells, their images relative to the folder `images`."""
    if kind not in ("coco", "voc", "yolo", "geojson"):
        raise InputError(f"data.format={kind!r} is not known; choose coco, voc, yolo or geojson.")
    if kind == "coco":
        table = read_coco(path)
    else:
        names = [posixpath.relpath(image, images) for image in images_below(base, images)]
        if kind == "voc":
            table = read_voc(path, names)
        elif kind == "geojson":
            table = read_geojson(path, names)
        else:
            table = read_yolo(path, names, lambda image: _size(base / images / image))
    return table[["image", "label", *BOX, "group"]]


def _size(path: Path) -> tuple[int, int]:
    height, width = slide_size(path)
    return width, height


def _of_classes(cells: pd.DataFrame, classes: Sequence[str] | None) -> pd.DataFrame:
    if classes is None:
        return cells
    others = cells.loc[~cells["label"].isin(classes), "label"].value_counts()
    if len(others) and len(others) < cells["label"].nunique():
        counts = ", ".join(f"{count} {label}" for label, count in others.items())
        warnings.warn(f"Objects of classes that are not in data.classes are left out: {counts}.", stacklevel=3)
        return cells[cells["label"].isin(classes)]
    return cells
