"""What an earlier report has left in a section's folder, and the next one would not overwrite."""

from __future__ import annotations

from pathlib import Path

from activessf.evaluation.leaks.refusing import REFUSED_FILE
from activessf.evaluation.page.mistakes import MISTAKES_FILE
from activessf.evaluation.page.page import PAGE
from activessf.evaluation.tables.section import TABLES

_FIGURES = ("class_distribution", "comparison_*", "pr_curves_*", "pr_auc_*")


def remove_earlier(folder: Path) -> None:
    """Remove the tables, figures and pages of an earlier report from a section's folder, and nothing else.

    A table that its runs give no row for any more, or that is refused now, must not stand beside the new ones.
    """
    patterns = [f"{name}{suffix}" for name in TABLES for suffix in (".csv", ".md", ".tex")]
    patterns += [f"{name}{suffix}" for name in _FIGURES for suffix in (".png", ".pdf")]
    for pattern in (*patterns, PAGE, MISTAKES_FILE, REFUSED_FILE):
        for path in folder.glob(pattern):
            path.unlink()
