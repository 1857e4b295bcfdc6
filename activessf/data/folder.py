"""`data=folder`: one folder of cell images a class, and a folder of slides."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from activessf.data.groups import GroupPattern
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
    pattern = None if group_pattern is None else GroupPattern(group_pattern)
    rows = [
        {"image": image, "label": name, "group": "" if pattern is None else pattern.of(image, f"{cells}/{name}")}
        for name in (classes or found)
        for image in images_below(base, f"{cells}/{name}")
    ]
    found_slides = images_below(base, slides)
    known = {} if pattern is None else pattern.known(found_slides, slides)
    return make_source(base, pd.DataFrame(rows), found_slides, classes or found, rare, common, known)
