"""The one table that all formats are written from and read into, and what its texts and boxes must be like.

Every format can hold such a table: what one of them could not say (a line break in a class name, a box without area) is
refused in all, when writing as when reading. Boxes that are given to a millionth of a pixel survive every format.
"""

from __future__ import annotations

import math
import posixpath
import re
import reprlib
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from activessf.errors import InputError
from activessf.manifests import BOX

MEASUREMENTS = ("fill_rate", "area", "score")
COLUMNS = ("image", "label", *BOX, "group", *MEASUREMENTS)

# Width and height in pixels.
Size = tuple[int, int]

# Control characters, lone surrogates, characters that Unicode has not given out, line and paragraph separators: XML or
# a text file with a name a line could not hold them.
_UNUSABLE = ("Cc", "Cs", "Cn", "Zl", "Zp")
_BYTE_ORDER_MARK = "\ufeff"
_DECIMALS = 6
_LARGEST = 2**31  # pixels
_LARGEST_NUMBER = 1e15

_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = 80


class Malformed(ValueError):
    """What a file or table holds can't be used; the message says where in it and why, without a full stop."""


def cell_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The table of cells that were read.

    Args:
        rows: For each cell image, label, x, y, width and height, and what is known of group and `MEASUREMENTS`.

    Returns:
        Columns `COLUMNS`; boxes in pixels, origin top left; group "" and measurements NaN where unknown.
    """
    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    texts = frame[["image", "label", "group"]].astype(object).fillna("").astype(str)
    numbers = frame[[*BOX, *MEASUREMENTS]].astype(float)
    return pd.concat([texts, numbers], axis=1)[list(COLUMNS)]


def checked(cells: pd.DataFrame, images: Collection[str]) -> pd.DataFrame:
    """The cells as `cell_table` gives them, if every format can hold them.

    Args:
        cells: Columns image, label, x, y, width, height, and any of group and `MEASUREMENTS`; others are dropped.
        images: All images that are written, with cells or without.

    Raises:
        InputError: A name or class can't be written, a box is none, or an image is not among `images`.
    """
    table = cell_table(cells.to_dict("records"))
    try:
        for image in images:
            if image_path(image) != image:
                raise Malformed(f"the image path {image!r} has to be written as {image_path(image)!r}")
        for label in table["label"].unique():
            if usable_text(label, "the class name") != label:
                raise Malformed(f"the class name {label!r} begins or ends with a space")
        for group in set(table["group"]) - {""}:
            if usable_text(group, "the group") != group:
                raise Malformed(f"the group {group!r} begins or ends with a space")
        stray = sorted(set(table["image"]) - set(images))
        if stray:
            raise Malformed(f"the size of {stray[0]!r} is not known, though it has cells")
        for image, *values in table[["image", *BOX, *MEASUREMENTS]].itertuples(index=False, name=None):
            box(values[: len(BOX)], f"a cell of {image!r}")
            for name, value in zip(MEASUREMENTS, values[len(BOX) :], strict=True):
                if not math.isnan(value):
                    finite(value, f"{name} of a cell of {image!r}")
    except Malformed as error:
        raise InputError(f"The cells can't be written: {error}; correct the table.") from error
    return table


def box(sides: Sequence[object], where: str) -> dict[str, float]:
    """A box, rounded to a millionth of a pixel, which takes away what arithmetic with corners has added.

    Args:
        sides: x, y, width and height in pixels.
        where: What has the box, for the message.

    Raises:
        Malformed: A value is no finite number, or the box has no area.
    """
    values = {
        # Zero is added, since what is rounded to -0.0 would be written so.
        name: round(finite(value, f"{name} of {where}"), _DECIMALS) + 0.0
        for name, value in zip(BOX, sides, strict=True)
    }
    for name, value in values.items():
        if abs(value) > _LARGEST:
            raise Malformed(f"{name} of {where} is {whole(value)}, which is no position or size in pixels")
    if values["width"] <= 0 or values["height"] <= 0:
        raise Malformed(f"{where} has no area (width={whole(values['width'])}, height={whole(values['height'])})")
    return values


def finite(value: object, what: str) -> float:
    """A number, as float.

    Raises:
        Malformed: It is no number (a text is none), not finite, or absurdly large.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Malformed(f"{what} is {shown(value)}, which is no number")
    if not abs(value) <= _LARGEST_NUMBER:  # NaN neither
        raise Malformed(f"{what} is {shown(value)}, which is not a finite number of a sensible size")
    return float(value)


def finite_text(text: str, what: str) -> float:
    """A number written as text, as `finite`; what only Python takes for one, such as 1_000, is refused.

    Raises:
        Malformed: It is none.
    """
    try:
        value = float(text.replace("_", "?"))
    except ValueError as error:
        raise Malformed(f"{what} is {shown(text)}, which is no number") from error
    return finite(value, what)


def whole(value: float) -> int | float:
    """A number that is written without a fraction where it has none."""
    return int(value) if float(value).is_integer() else float(value)


def shown(value: object) -> str:
    """A value for a message: cut short, however long or deeply nested it is."""
    return _shown.repr(value)


def usable_text(text: object, what: str) -> str:
    """A name without the spaces round it.

    Raises:
        Malformed: It is no text, empty, or holds a character that not every format can.
    """
    if not isinstance(text, str) or not text.strip():
        raise Malformed(f"{what} is {shown(text)}; it must be a text that is not empty")
    if any(unicodedata.category(character) in _UNUSABLE for character in text) or _BYTE_ORDER_MARK in text:
        raise Malformed(f"{what} is {ascii(text[:60])}, with a control character or half a character; rename it")
    return text.strip()


def image_path(text: object) -> str:
    r"""The path of an image as we write it: relative, POSIX, without `.` and `..`.

    Files from Windows have backslashes between folders, so a backslash counts as a slash; a file whose own name holds
    one must be renamed.

    Raises:
        Malformed: It is no path, absolute, or leaves the folder of images.
    """
    name = posixpath.normpath(usable_text(text, "an image's path").replace("\\", "/"))
    if name.startswith(("/", "../")) or name in (".", "..") or re.match("[A-Za-z]:/", name):
        raise Malformed(f"the image path {text!r} is not one below the folder of images; make it relative to that")
    return name
