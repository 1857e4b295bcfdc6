"""Which annotation file belongs to which image, where there is one file an image.

A file has the name of its image with another suffix, in the same subfolder: `a/b.xml` for `a/b.png`. Where that name
could mean two images (`a/b.png` and `a/b.jpg`), the whole name stands before the suffix: `a/b.png.xml`. When reading,
the whole name is always understood.
"""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from activessf.errors import InputError
from activessf.interchange.cells import image_path
from activessf.interchange.reading import naming, warn_left_out


def file_names(images: Collection[str], suffix: str) -> dict[str, str]:
    """Path of the file of each image; no two are equal.

    Args:
        images: Paths, POSIX.
        suffix: Of the files, with its dot.
    """
    stems = _own_stems(images)
    return {image: stems.get(image, image) + suffix for image in images}


def rows_of_files(
    cells: pd.DataFrame, images: Collection[str], suffix: str
) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """What stands in the file of each image, to be written: image, path of the file, the image's cells if it has any.

    Args:
        cells: With a column `image`.
        images: Paths, POSIX.
        suffix: Of the files, with its dot.
    """
    rows: dict[Any, Any] = {image: part.to_dict("records") for image, part in cells.groupby("image", sort=False)}
    for image, name in file_names(images, suffix).items():
        yield image, name, rows.get(image, [])


def files_of_images(folder: Path, images: Collection[str], suffix: str, but: Iterable[Path] = ()) -> dict[str, Path]:
    """The files that are there, by image; files that belong to no image are left out with a warning.

    Args:
        folder: Is searched with its subfolders, hidden files and folders excepted.
        images: Paths of all images relative to the folder that `folder` mirrors, POSIX.
        suffix: Of the files, with its dot, in small letters.
        but: Files with this suffix that are something else.

    Raises:
        InputError: The folder is not there, no file belongs to an image, or it is not certain which does.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; it should hold a {suffix} file an image.")
    found = _files_below(folder, suffix, set(but))
    stems = _own_stems(images)
    files: dict[str, Path] = {}
    for image in sorted(images):
        names = [name for name in dict.fromkeys((image, stems.get(image, image))) if name in found]
        if len(names) > 1:
            raise InputError(
                f"{found[names[0]]} and {found[names[1]]} both belong to the image {image}; take one away."
            )
        if names:
            files[image] = found.pop(names[0])
            with naming(files[image], "the annotation of an image"):
                image_path(image)
    _check_strays(folder, found, files, images)
    return files


def _own_stems(images: Iterable[str]) -> dict[str, str]:
    """The path without its suffix, for every image that no other can be taken for by it, even ignoring case."""
    stems = {image: posixpath.splitext(image)[0] for image in images}
    times = Counter(stem.casefold() for stem in stems.values())
    whole = {image.casefold() for image in stems}
    return {
        image: stem for image, stem in stems.items() if times[stem.casefold()] == 1 and stem.casefold() not in whole
    }


def _files_below(folder: Path, suffix: str, but: Collection[Path]) -> dict[str, Path]:
    """Paths by what stands before the suffix, relative to the folder."""
    found = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent) / name
            if name.lower().endswith(suffix) and not name.startswith(".") and path not in but:
                found[path.relative_to(folder).as_posix()[: -len(suffix)]] = path
    return found


def _check_strays(folder: Path, strays: dict[str, Path], files: dict[str, Path], images: Collection[str]) -> None:
    """What to make of the files that are no image's."""
    for image in sorted(images):
        path = strays.get(posixpath.splitext(image)[0])
        if path is not None:
            suffix = path.suffix
            raise InputError(
                f"{path} could belong to {image} or to another image; name it {posixpath.basename(image)}{suffix}."
            )
    if not files:
        seen = f"the first file is {next(iter(strays.values()))}" if strays else "it has no such file"
        raise InputError(
            f"{folder} holds the annotation of none of the {len(images)} images ({seen}); a file must have the name "
            "of its image, in the same subfolder."
        )
    first = next(iter(strays.values()), None)
    warn_left_out(len(strays), f"annotation file(s) belong to no image and are left out, the first is {first}.")
