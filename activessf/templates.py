"""HTML pages from templates: what all pages of the project have in common."""

from __future__ import annotations

from pathlib import Path

import jinja2


def templates(folder: Path) -> jinja2.Environment:
    """The templates of a folder; what they are given is escaped, and what they lack is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        # For every template: titles, class and file names come from the user's data.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
