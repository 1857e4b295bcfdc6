"""Tables as text: for terminals, as Markdown, and so that spreadsheets take it for text."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from typing import Any

import pandas as pd

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


def format_table(frame: pd.DataFrame) -> str:
    """The table in aligned columns, for a terminal; wide (East Asian) characters count double.

    Characters that are not printable, which names in files may hold, are shown as "?".
    """
    rows = [[_printable(str(cell)) for cell in row] for row in [list(frame.columns), *frame.to_numpy(object).tolist()]]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:]])


def markdown_table(frame: pd.DataFrame, bold: Collection[tuple[int, int]] = ()) -> str:
    """The table in Markdown (GitHub's pipes), its text escaped.

    Args:
        frame: Table of strings.
        bold: Cells (row, column number) to set in bold.
    """
    header = [_escaped(str(name)) for name in frame.columns]
    rows = [[_escaped(str(cell)) for cell in row] for row in frame.itertuples(index=False, name=None)]
    for row, column in bold:
        rows[row][column] = f"**{rows[row][column]}**"
    return "".join(f"| {' | '.join(row)} |\n" for row in [header, ["---"] * len(header), *rows])


def markdown_text(text: str) -> str:
    """A line of plain text as Markdown."""
    return _escaped(text)


def spreadsheet_text(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before every text that a spreadsheet would compute (OWASP, CSV injection).

    For files that people open; names that are to be read back are written as they are.
    """
    texts = frame.select_dtypes(exclude="number").columns
    return frame.assign(**{str(name): frame[name].map(_not_computed) for name in texts})


def _not_computed(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def _escaped(text: str) -> str:
    for character in "\\`*_|<>[]$~":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.replace("&", "&amp;").split())


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
