"""The pages of a report: one a section, which needs no other file, and one that leads to them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from activessf import __version__
from activessf.evaluation.baselines import NO_SELECTION, Baseline
from activessf.evaluation.formatting import spreadsheet_text
from activessf.evaluation.page.cells import pooled_predictions
from activessf.evaluation.page.configuration import run_columns, run_entries
from activessf.evaluation.page.confusion import matrix_rows
from activessf.evaluation.page.mistakes import MISTAKES_FILE, mistakes_table
from activessf.evaluation.page.opened import Limits, page_data
from activessf.evaluation.page.pictures import crop_files
from activessf.evaluation.runs import union_of_classes
from activessf.evaluation.sections import Section
from activessf.evaluation.stages import relative_link
from activessf.evaluation.tables.table import Table
from activessf.evaluation.unfinished import Unfinished
from activessf.evaluation.wording.method import method_section
from activessf.manifests import write_table, write_text
from activessf.templates import templates

PAGE = "index.html"
_HERE = Path(__file__).parent
ShownFigure = tuple[Path, str, bool]  # PNG file, caption, whether it is wide


def write_section_page(
    section: Section,
    tables: Sequence[Table],
    figures: Sequence[ShownFigure],
    begun: Sequence[Unfinished],
    notes: Sequence[str],
    folder: Path,
    limits: Limits,
    num_resamples: int,
    baseline: Baseline = NO_SELECTION,
) -> Path:
    """Write the page of a section, `index.html`, and the list of confident mistakes beside it.

    The page holds its figures and the pictures of cells, and asks for nothing from anywhere. Links to audits and region
    pages are relative and hold as long as the outputs stay together. Its size follows from the number of figures, of
    classes and runs, and from `limits`.

    Args:
        section: What it is on.
        tables: Its tables.
        figures: Its figures.
        begun: Folds that have no result, of any run.
        notes: What was left out of the whole report.
        folder: The section's folder, where the tables stand.
        limits: How much is shown of cells.
        num_resamples: Number of bootstrap resamples that its intervals rest on.
        baseline: What its runs were compared with.

    Returns:
        The page.
    """
    page, runs, classes = folder / PAGE, section.runs, union_of_classes(section.runs)
    cells, predictions = pooled_predictions(runs, classes)
    files = crop_files(runs, cells)
    mistakes = mistakes_table(runs, predictions, cells, classes, limits.mistakes)
    write_table(spreadsheet_text(mistakes), folder / MISTAKES_FILE)
    data = page_data(predictions, cells, classes, files, limits)
    text = _rendered(
        "section.html.jinja",
        title=section.title,
        tables=[_table(table) for table in tables],
        figures=[_figure(*figure) for figure in figures],
        columns=run_columns(runs),
        runs=run_entries(runs, begun, page),
        classes=classes,
        matrices=[matrix_rows(predicted, len(classes)) for predicted in predictions],
        data=data,
        pictures=_pictures_note(cells, files, data),
        limits=limits,
        mistakes_file=MISTAKES_FILE,
        method=method_section(runs, cells, num_resamples, baseline),
        notes=notes,
    )
    write_text(text, page)
    return page


def write_index(
    pages: Sequence[tuple[Section, Table, Path]],
    refused: Mapping[str, Sequence[str]],
    notes: Sequence[str],
    page: Path,
) -> None:
    """Write the page that leads to those of the sections.

    Args:
        pages: Each section with its overall table and its page.
        refused: Titles of sections that have neither, and why.
        notes: What was left out.
        page: The file to write.
    """
    sections = [
        {"title": section.title, "runs": len(section.runs), "table": _table(table), "link": relative_link(own, page)}
        for section, table, own in pages
    ]
    text = _rendered(
        "report.html.jinja", title="ActiveSSF report", sections=sections, refused=dict(refused), notes=notes
    )
    write_text(text, page)


def _rendered(template: str, **values: Any) -> str:
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    # The browser runs this script and no other, whatever has slipped into the page.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    environment = templates(_HERE)
    return environment.get_template(template).render(
        values, style=style, script=script, script_digest=digest, made=made, version=__version__
    )


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "name": table.name,
        "columns": list(table.text.columns),
        "rows": [
            [{"text": cell, "best": (row, column) in table.best} for column, cell in enumerate(cells)]
            for row, cells in enumerate(table.text.itertuples(index=False, name=None))
        ],
        "notes": table.printed_notes,
    }


def _figure(path: Path, caption: str, wide: bool) -> dict[str, Any]:
    return {"image": base64.b64encode(path.read_bytes()).decode("ascii"), "caption": caption, "wide": wide}


def _pictures_note(cells: pd.DataFrame, files: Sequence[Path | None], data: dict[str, Any]) -> str:
    """Which of the cells that are shown have no picture, and why; empty if all have one."""
    there, shown, drawn = sum(file is not None for file in files), len(data["cells"]), len(data["pictures"])
    if not there:
        return (
            "The crops of the labeled cells (outputs/stages/cells) are not on this disk, so cells are named but not "
            "shown; copy that folder beside the runs and write the report again to see them."
        )
    if drawn == shown:
        return ""
    missing = f" The crops of {len(cells) - there:,} cells are not on this disk." if there < len(cells) else ""
    return f"{drawn:,} of the {shown:,} cells that can be opened have a picture (--pictures is the limit).{missing}"
