"""`data=folder`: one folder of cell images a class, and a folder of slides."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from activessf.data.source import Source, check_folder, existing_folder, images_below, make_source
from activessf.errors import InputError


def folder_source(
    root: str | None,
    cells: str,
    slides: str,
    classes: Sequence[str] | None,
    group_pattern: str | None,
    rare: Sequence[str],
    common: Sequence[str],
) -> Source:
    r"""Cells from `root/cells/<class>/*`, slides from `root/slides`; subfolders are searched too.

    Args:
        root: Folder that holds the two.
        cells: Folder of the class folders, relative to `root`.
        slides: Folder of the slides, relative to `root`.
        classes: Class folders to read, in the order of tables; None = all, sorted.
        group_pattern: Regular expression searched in a cell's path relative to its class folder; its first group is
            the patient or slide, e.g. `^([^_]+)_` for `patient7_0012.png`. None = groups unknown. Slides whose path
            below `slides` it fits have their groups by it too.
        rare: Classes that tables mark as rare.
        common: Classes that tables mark as common.

    Raises:
        InputError: A folder is missing or empty, or the pattern is none or fits no name.
    """
    base = existing_folder(root, "data.root")
    check_folder(base / cells, "one folder of cell images a class")
    found = sorted(path.name for path in (base / cells).iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise InputError(f"{base / cells} holds no class folders.")
    rows = [
        {"image": image, "label": name, "group": _group(image, f"{cells}/{name}/", group_pattern)}
        for name in (classes or found)
        for image in images_below(base, f"{cells}/{name}")
    ]
    found_slides = images_below(base, slides)
    groups = {slide: _search(slide, f"{slides}/", group_pattern) for slide in found_slides} if group_pattern else {}
    known = {slide: group for slide, group in groups.items() if group is not None}
    return make_source(base, pd.DataFrame(rows), found_slides, classes or found, rare, common, known)


def _group(image: str, folder: str, pattern: str | None) -> str:
    if pattern is None:
        return ""
    group = _search(image, folder, pattern)
    if group is None:
        raise InputError(f"data.group_pattern={pattern!r} finds no group in {image!r}; it needs one pair of brackets.")
    return group


def _search(image: str, folder: str, pattern: str) -> str | None:
    """What the first group of the pattern finds in a path below a folder."""
    try:
        match = re.search(pattern, image.removeprefix(folder))
    except re.error as error:
        raise InputError(f"data.group_pattern={pattern!r} is no regular expression: {error}.") from error
    return match[1] if match is not None and match.groups() else None
