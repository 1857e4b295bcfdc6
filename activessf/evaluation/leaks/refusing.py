"""A section whose tables are not given: what stands in their place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from activessf.errors import InputError
from activessf.evaluation.formatting import markdown_text
from activessf.manifests import write_text

REFUSED_FILE = "refused.md"


class TablesRefused(InputError):
    """Some tables were not given; everything else has been written.

    Attributes:
        lines: For the terminal, as from a report of which nothing was refused.
    """

    def __init__(self, sections: Sequence[str], lines: Sequence[str]) -> None:
        super().__init__(
            f"No tables are given of {printable('; '.join(sections))}, since what was tested may have had a part in "
            "training; the reasons and what to do stand above."
        )
        self.lines = list(lines)


def refuse(title: str, reasons: Sequence[str], folder: Path) -> list[str]:
    """Put the reasons in the place of a section's tables and figures.

    Args:
        title: Heading of the section.
        reasons: See `findings.Findings`.
        folder: The section's.

    Returns:
        Lines for the terminal.
    """
    body = "".join(f"- {markdown_text(reason)}\n" for reason in reasons)
    write_text(f"## No tables: {markdown_text(title)}\n\n{body}", folder / REFUSED_FILE)
    return [f"{printable(title)}: no tables", *(f"- {printable(reason)}" for reason in reasons), ""]


def printable(text: str) -> str:
    """A line for the terminal; what can't be printed becomes a question mark."""
    return "".join(character if character.isprintable() else "?" for character in text)
