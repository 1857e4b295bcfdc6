"""`data=bccd`: blood-smear fields with Pascal VOC boxes and a table of white cell subtypes per field."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from activessf.data.source import Source, check_folder, existing_folder, images_below, make_source
from activessf.interchange.voc import read_voc_file
from activessf.manifests import read_table


def bccd_source(
    root: str | None,
    images: str,
    annotations: str,
    subtypes: str,
    box_name: str,
    classes: Sequence[str] | None,
    rare: Sequence[str],
    common: Sequence[str],
) -> Source:
    """White cells labeled by subtype; every field is a slide too, and the group of its cells.

    The table gives the subtypes of a field, not which box has which. So a field is used only where that is certain: as
    many boxes as subtypes, and all subtypes equal. The others stay unlabeled, and a warning counts them.

    Args:
        root: Folder of the data set.
        images: Folder of the fields, relative to `root`.
        annotations: Folder of the VOC XML files, relative to `root`.
        subtypes: CSV file with columns image and wbc_subtypes (several joined by "+"), relative to `root`.
        box_name: Name of the VOC objects that are cells to classify.
        classes: Subtypes in the order of tables; None = those found, sorted.
        rare: Classes that tables mark as rare.
        common: Classes that tables mark as common.

    Raises:
        InputError: A file or folder is missing, or an annotation can't be read.
    """
    base = existing_folder(root, "data.root")
    fields = images_below(base, images)
    check_folder(base / annotations, "the fields' Pascal VOC annotations")
    table = read_table(base / subtypes, ["image", "wbc_subtypes"])
    names = {str(row.image): str(row.wbc_subtypes).split("+") for row in table.itertuples() if row.wbc_subtypes}
    rows: list[dict[str, object]] = []
    uncertain: Counter[str] = Counter()
    for field in fields:
        annotation = base / annotations / (Path(field).stem + ".xml")
        boxes = read_voc_file(annotation, only=box_name) if annotation.is_file() else []
        labels = names.get(Path(field).name, [])
        if len(boxes) != len(labels) or len(set(labels)) > 1:
            uncertain.update(labels)
            continue
        rows += [
            {**box, "image": field, "label": label, "group": field} for label, box in zip(labels, boxes, strict=True)
        ]
    if uncertain:
        counts = ", ".join(f"{count} {label}" for label, count in uncertain.most_common())
        warnings.warn(
            f"{uncertain.total()} cells stay unlabeled ({counts}): their fields' subtypes differ, or don't match the "
            f"{box_name} boxes in number, so that it is not certain which box has which.",
            stacklevel=2,
        )
    return make_source(base, pd.DataFrame(rows), fields, classes, rare, common)
