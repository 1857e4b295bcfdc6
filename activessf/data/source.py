"""What every source of data gives: labeled cells, unlabeled slides, the classes; and the checks that all share."""

from __future__ import annotations

import logging
import os
import posixpath
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from activessf.data.dicom import one_file_a_series
from activessf.data.slide_files import WHOLE_SLIDE_SUFFIXES
from activessf.errors import InputError
from activessf.manifests import BOX, CELLS, PROTOTYPES

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", *WHOLE_SLIDE_SUFFIXES)
_SHOWN = 3


@dataclass(frozen=True)
class Source:
    """Labeled cells and unlabeled slides of one data set.

    Attributes:
        root: Folder that all image paths are relative to.
        cells: One row a labeled cell, columns `manifests.CELLS`; x, y, width, height in pixels, origin top left, all
            NaN = the whole image; group and split are "" where unknown.
        slides: Unlabeled images, POSIX paths relative to `root`, sorted. An image may also have labeled cells.
        classes: Class names in the order of tables.
        rare: Classes that tables mark as rare.
        common: Classes that tables mark as common.
        slide_groups: Group (patient) of slides, as far as it is known without their having labeled cells.
        truth: Every cell whose class is known, columns image, label, x, y, width, height, where that is more than the
            stages are told by `cells`; a label may be no class. Only the audit of a selection looks at it. None: there
            is no more.
    """

    root: Path
    cells: pd.DataFrame
    slides: tuple[str, ...]
    classes: tuple[str, ...]
    rare: tuple[str, ...] = ()
    common: tuple[str, ...] = ()
    slide_groups: Mapping[str, str] = field(default_factory=dict)
    truth: pd.DataFrame | None = None


def make_source(
    root: Path,
    cells: pd.DataFrame,
    slides: Sequence[str],
    classes: Sequence[str] | None,
    rare: Sequence[str] = (),
    common: Sequence[str] = (),
    slide_groups: Mapping[str, str] | None = None,
) -> Source:
    """A `Source` whose names have been checked; columns that `cells` lacks are filled in.

    Args:
        root: Folder of the images.
        cells: Columns image and label at least.
        slides: Unlabeled images relative to `root`.
        classes: The classes, in order; None = the labels found, sorted.
        rare: Names of rare classes.
        common: Names of common classes.
        slide_groups: Group of slides, where known.

    Raises:
        InputError: No cells, a label that is not among `classes`, a class without a cell, a path that leaves `root`,
            a file that is not there, a box of which only a part is given, or the same cell twice.
    """
    if cells.empty:
        raise InputError(f"{root} holds no labeled cells.")
    cells = _grouped(_filled(cells))
    # In a configuration a name may look like a number; in a table it is text.
    classes = tuple(sorted(set(cells["label"])) if classes is None else map(str, classes))
    rare, common = tuple(map(str, rare)), tuple(map(str, common))
    _check_labels(cells["label"], classes, (*rare, *common))
    check_paths(root, cells["image"])
    _check_boxes(cells)
    return Source(root, cells, tuple(sorted(slides)), classes, rare, common, dict(slide_groups or {}))


def check_classification(source: Source) -> None:
    """Check that there is something to tell apart.

    Raises:
        InputError: There is one class only.
    """
    if len(source.classes) < 2:
        raise InputError(f"There is only one class, {source.classes[0]!r}; classification needs two at least.")


def existing_folder(path: str | Path | None, option: str) -> Path:
    """The folder that an option names, absolute.

    Raises:
        InputError: The option is empty or names no folder.
    """
    if path is None or str(path) == "":
        raise InputError(f"{option} is not set; give the folder of your data, e.g. {option}=/data/smears.")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f"{option}={path} is no folder (looked for {folder.absolute()}); check the path.")
    return folder.absolute()


def images_below(root: Path, folder: str) -> list[str]:
    """All image files below `root/folder`, as sorted POSIX paths relative to `root`; hidden ones are left out.

    Of the files of a DICOM series the first stands for all.

    Raises:
        InputError: The folder is not there, lies outside `root`, or holds no image.
    """
    _check_inside([folder])
    if not (root / folder).is_dir():
        raise InputError(f"{root / folder} is no folder; put the images there or name another folder below {root}.")
    paths = [
        path
        for path in (root / folder).rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
    ]
    if not paths:
        raise InputError(f"{root / folder} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
    names = sorted(path.relative_to(root).as_posix() for path in one_file_a_series(paths))
    odd = [name for name in names if not _in_tables(name)]
    if odd:
        warnings.warn(
            f"{len(odd)} image(s) are left out, whose names tables can't hold (line breaks, outer spaces, broken "
            f"characters); the first: {odd[0]!a}. Rename them.",
            stacklevel=2,
        )
    return [name for name in names if _in_tables(name)]


def _in_tables(name: str) -> bool:
    """Whether a name comes back from a CSV file as it went in: no control character, half a character, outer space."""
    return name == name.strip() and not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def check_folder(folder: Path, content: str) -> None:
    """Check that a folder is there.

    Raises:
        InputError: It isn't; says what it should hold.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; it should hold {content}.")


def check_paths(root: Path, images: Iterable[str]) -> None:
    """Check that image paths stay below `root` and that the files are there.

    Raises:
        InputError: Names the first offenders.
    """
    images = sorted(set(images))
    _check_inside(images)
    missing = [image for image in images if not (root / image).is_file()]
    if missing:
        raise InputError(f"{len(missing)} image(s) are not there: {_few(missing)} (looked in {root}).")


def _check_inside(images: Sequence[str]) -> None:
    climbing = [
        image
        for image in images
        if os.path.isabs(image) or PurePosixPath(os.path.normpath(image)).parts[:1] == ("..",) or "\0" in image
    ]
    if climbing:
        raise InputError(f"Paths must be relative and stay below the data root; found {_few(climbing)}.")


def _filled(cells: pd.DataFrame) -> pd.DataFrame:
    boxes = cells.reindex(columns=list(BOX)).apply(pd.to_numeric, errors="coerce").astype(float)
    texts = cells.reindex(columns=["image", "label", "group", "split"]).astype(object).fillna("").astype(str)
    # One spelling an image: a slide that a test cell comes from is known by its path.
    texts["image"] = [posixpath.normpath(image) for image in texts["image"]]
    return pd.concat([texts, boxes], axis=1)[list(CELLS)].reset_index(drop=True)


def _grouped(cells: pd.DataFrame) -> pd.DataFrame:
    """Where no group is known and images hold several cells, the image is the group."""
    if (cells["group"] == "").all() and cells["image"].duplicated().any():
        log.info("No groups are given: the cells of one image are kept together in one fold.")
        return cells.assign(group=cells["image"])
    return cells


def _check_labels(labels: pd.Series[str], classes: Sequence[str], marked: Sequence[str]) -> None:
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise InputError(f"Unknown class {_few(unknown)}; the classes are {', '.join(classes)}.")
    if len(set(classes)) < len(classes):
        raise InputError(f"A class is named twice in {', '.join(classes)}.")
    reserved = sorted(set(classes) & set(PROTOTYPES))
    if reserved:
        raise InputError(f"A class can't be called {_few(reserved)}, which is a column of prototypes.csv; rename it.")
    empty = [name for name in classes if name not in set(labels)]
    if empty:
        raise InputError(f"No labeled cell of class {_few(empty)}; add some or take it out of data.classes.")
    stray = sorted(set(marked) - set(classes))
    if stray:
        raise InputError(f"data.rare and data.common name {_few(stray)}, which is no class.")


def _check_boxes(cells: pd.DataFrame) -> None:
    given = cells[list(BOX)].notna().sum(axis=1)
    partial = cells.index[(given != 0) & (given != len(BOX))]
    if len(partial):
        row = cells.loc[partial[0]]
        raise InputError(
            f"The box of a cell in {row['image']} is not four numbers (x={row['x']}, y={row['y']}, "
            f"width={row['width']}, height={row['height']}); give all four or none."
        )
    twice = cells[cells.duplicated(["image", *BOX])]
    if not twice.empty:
        raise InputError(
            f"{len(twice)} cell(s) are listed twice, the first in {twice['image'].iloc[0]}; list each once."
        )


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + more
