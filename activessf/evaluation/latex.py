"""Tables in LaTeX, with the packages booktabs and graphicx; a check mark needs amssymb."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import pandas as pd

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedblright{}",
    "`": r"\textasciigrave{}",
    # After the end of a row a bracket would be read as its argument.
    "[": "{[}",
    "]": "{]}",
    "*": "$^{*}$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{DAGGER}": r"$^{\dagger}$",
    "\N{DOUBLE DAGGER}": r"$^{\ddagger}$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    "\N{CHECK MARK}": r"$\checkmark$",
}


def latex_table(
    frame: pd.DataFrame, bold: Collection[tuple[int, int]], caption: str, label: str, notes: Sequence[str]
) -> str:
    r"""The table as a float over both columns, scaled down to the page where it is wider.

    Args:
        frame: Table of strings, which are escaped.
        bold: Cells (row, column number) to set in bold.
        caption: Its heading.
        label: What \ref names, letters, digits, dots, dashes and underscores.
        notes: Sentences below the table.
    """
    rows = [[latex_text(str(cell)) for cell in row] for row in frame.itertuples(index=False, name=None)]
    for row, column in bold:
        rows[row][column] = rf"\textbf{{{rows[row][column]}}}"
    header = [latex_text(str(name)) for name in frame.columns]
    body = [
        r"\toprule",
        _row(header),
        r"\midrule",
        *map(_row, rows),
        r"\bottomrule",
    ]
    return "\n".join(
        [
            r"% Needs \usepackage{booktabs}, \usepackage{graphicx} and, for check marks, \usepackage{amssymb}.",
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{latex_text(caption)}}}",
            rf"\label{{tab:{label}}}",
            r"\resizebox{\ifdim\width>\textwidth \textwidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            *body,
            r"\end{tabular}}",
            *(rf"\par\footnotesize {latex_text(note)}" for note in notes),
            r"\end{table*}",
            "",
        ]
    )


def latex_text(text: str) -> str:
    """Plain text, all characters that LaTeX gives a meaning to escaped; unprintable ones become question marks."""
    printable = "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))
    escaped = "".join(_SPECIAL.get(character, character) for character in printable)
    # Dashes would run together to a longer one; a number's sign is a minus.
    escaped = re.sub("-(?=-)", "-{}", escaped)
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", escaped)


def _row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
