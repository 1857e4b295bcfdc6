"""What the figures of a report share: letters, colours, the writing of names, and the two files of each."""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure

from activessf.evaluation.tables.table import marked_class
from activessf.manifests import replacing

DPI = 150
# Okabe and Ito's palette, told apart by colour-blind readers too; its yellow is too pale for bars on white.
GREY, BLUE, ORANGE, GREEN = "#8C8C8C", "#0072B2", "#E69F00", "#009E73"
SKY, PURPLE, VERMILLION = "#56B4E9", "#CC79A7", "#D55E00"
SERIES = (GREY, BLUE, ORANGE, GREEN, SKY, PURPLE, VERMILLION)  # of runs, the baseline first
RARE = VERMILLION

_LONGEST = 20  # letters of a class name
# Fonts that know Chinese, Japanese and Korean class names, where a machine has one of them.
_FALLBACK_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "Microsoft YaHei", "PingFang SC")
_MISSING_GLYPH = re.compile(r"Glyph (\d+) .*missing from")


@contextmanager
def drawing(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure to draw into; when the block ends well it is written as PNG (150 dpi) and, beside it, as PDF.

    Texts are drawn as they are: class names and titles are not formulas. The PDF holds its fonts as TrueType (type 42),
    which journals ask for, and no date, so equal data give equal files.

    Args:
        path: The PNG file to write.
        width: Inches; what is empty round the drawing is cut off.
        height: Inches.
    """
    known = set(font_manager.get_font_names())
    settings: Any = {
        "font.family": ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in known)],
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.parse_math": False,
        "pdf.fonttype": 42,
    }
    with matplotlib.rc_context(settings), _missing_letters_told_once():
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        for kind, metadata in (("png", None), ("pdf", {"CreationDate": None})):
            with replacing(path.with_suffix(f".{kind}")) as temporary:
                figure.savefig(
                    temporary, format=kind, dpi=DPI, facecolor="white", bbox_inches="tight", pad_inches=0.1,
                    metadata=metadata,
                )  # fmt: skip


def colours(num_runs: int) -> tuple[str, ...]:
    """Colours of up to seven runs: of one alone blue, of more the first, the baseline, grey."""
    assert num_runs <= len(SERIES)
    return SERIES[:num_runs] if num_runs > 1 else (BLUE,)


def rare_first(classes: Sequence[str], rare: Collection[str], common: Collection[str]) -> list[str]:
    """The classes with the rare ones at the beginning and the common ones at the end, else in the given order."""
    return sorted(classes, key=lambda name: (name not in rare, name in common))


def class_labels(classes: Sequence[str], rare: Collection[str], common: Collection[str]) -> list[str]:
    """What stands at an axis for each class: a short name with its mark."""
    return [shortened(name) + marked_class(name, rare, common)[len(name) :] for name in classes]


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Text on one line that is no wider than so many letters; what is too much is left out in the middle."""
    text = " ".join(text.split())
    if width_of(text) <= longest:
        return text
    kept = len(text) // 2
    while kept > 1 and width_of(text[:kept]) + width_of(text[-kept:]) > longest - 1:
        kept -= 1
    return f"{text[:kept]}\N{HORIZONTAL ELLIPSIS}{text[-kept:]}"


def wrapped(text: str, width: int) -> str:
    """Text on at most three lines of so many letters."""
    return textwrap.fill(text, max(width, 12), max_lines=3, placeholder=" \N{HORIZONTAL ELLIPSIS}")


def width_of(text: str) -> int:
    """Width in letters; Chinese, Japanese and Korean ones count as two."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


@contextmanager
def _missing_letters_told_once() -> Iterator[None]:
    """One warning in place of one for each letter that no font has."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    missing = set()
    for item in caught:
        if match := _MISSING_GLYPH.match(str(item.message)):
            missing.add(chr(int(match[1])))
        else:
            warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
    if missing:
        _tell_missing("".join(sorted(missing)))


@cache
def _tell_missing(letters: str) -> None:
    """Say it once: every figure has the names."""
    warnings.warn(
        f"No font on this machine has the letters {letters} of class names or titles; figures show boxes in their "
        "place. Install a font that has them, such as Noto Sans CJK, and write the report again.",
        stacklevel=2,
    )
