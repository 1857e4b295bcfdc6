"""The report on all runs so far: `python -m activessf.evaluation.report`."""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from activessf import __version__
from activessf.errors import InputError
from activessf.evaluation.comparisons import METRICS, compare
from activessf.evaluation.figures.section import FigureFile, section_figures
from activessf.evaluation.formatting import format_table, markdown_table, markdown_text
from activessf.evaluation.intervals import NUM_RESAMPLES
from activessf.evaluation.latex import latex_table
from activessf.evaluation.runs import Run, collect_runs, tested_counts
from activessf.evaluation.sections import Section, split_into_sections
from activessf.evaluation.tables.section import section_tables
from activessf.evaluation.tables.table import METRIC_TITLES, Table
from activessf.manifests import write_table, write_text
from activessf.templates import templates

_OUTPUTS = Path(__file__).resolve().parents[2] / "outputs"
_TEMPLATE = "report.html.jinja"


def write_report(
    runs_dir: Path,
    output_dir: Path,
    data: str | None = None,
    recipe: str | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> list[str]:
    """Write tables, figures and the page index.html on all runs below a folder.

    Every section (data, recipe, seed) has a folder with its tables (`section_tables`) as .csv, .md and .tex, and its
    figures as .png and .pdf. The page holds all of them and needs no other file.

    Args:
        runs_dir: Folder of run folders, searched recursively.
        output_dir: Folder to write into.
        data: Only runs on this option of the group data.
        recipe: Only runs with this option of the group recipe.
        num_resamples: Number of bootstrap resamples that intervals rest on.

    Returns:
        Lines for the terminal: the overall table of each section with its notes, and where the page is.

    Raises:
        InputError: There is no finished run, or a file of a run can't be used.
    """
    found, notes = collect_runs(runs_dir)
    sections = split_into_sections(_chosen(found, data, recipe))
    lines, pages = [], []
    for section in tqdm(sections, desc="Writing the report", unit="section"):
        comparisons = compare(section.runs)
        tables = section_tables(section.runs, comparisons, tested_counts(section.runs)[0], num_resamples)
        folder = output_dir / section.name
        for table in tables:
            write_table(table.values, folder / f"{table.name}.csv")
            write_text(_markdown(table, section), folder / f"{table.name}.md")
            write_text(_latex(table, section), folder / f"{table.name}.tex")
        figures = section_figures(section, folder, runs_dir.parent / "stages")
        pages.append(_section_page(section, tables, figures))
        lines += [section.title, format_table(tables[0].text), *tables[0].notes, ""]
    page = output_dir / "index.html"
    write_text(_page(pages, notes), page)
    return [*lines, *notes, f"Report: {page}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, write the report, print the overall table; 2 is a user's mistake."""
    options = _parser().parse_args(arguments)
    try:
        lines = write_report(options.runs, options.output, options.data, options.recipe, options.resamples)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # A terminal that can't show a plus-minus sign gets a question mark, not a traceback.
    text = "\n".join(lines)
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, errors="replace").decode(encoding))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m activessf.evaluation.report",
        description="Write tables (CSV, Markdown, LaTeX), figures (PNG, PDF) and one self-contained page (index.html) "
        "on all runs so far. Runs of different data, recipe or seed get sections of their own. Folds that are not "
        "finished are left out and named, so it can be run at any time.",
    )
    parser.add_argument(
        "--runs", type=Path, default=_OUTPUTS / "runs", metavar="DIR", help="folder of runs (default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=_OUTPUTS / "report", metavar="DIR", help="where to write (default: %(default)s)"
    )
    parser.add_argument("--data", metavar="NAME", help="only runs on this data, as in data=NAME (default: all)")
    parser.add_argument("--recipe", metavar="NAME", help="only runs of this recipe, as in recipe=NAME (default: all)")
    parser.add_argument(
        "--resamples",
        type=_number_of_resamples,
        default=NUM_RESAMPLES,
        metavar="N",
        help="bootstrap resamples that confidence intervals rest on (default: %(default)s)",
    )
    return parser


def _number_of_resamples(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"needs a whole number from 1, got {text!r}")
    return int(text)


def _chosen(runs: Sequence[Run], data: str | None, recipe: str | None) -> list[Run]:
    for group, option in (("data", data), ("recipe", recipe)):
        if option is not None:
            known = sorted({run.choices.get(group, "") for run in runs})
            runs = [run for run in runs if run.choices.get(group) == option]
            if not runs:
                raise InputError(f"No finished run has {group}={option}; there are runs with {', '.join(known)}.")
    return list(runs)


def _markdown(table: Table, section: Section) -> str:
    notes = "".join(f"- {markdown_text(note)}\n" for note in table.notes)
    body = f"{markdown_table(table.text, table.best)}\n" if len(table.text) else ""
    return f"## {table.title}: {markdown_text(section.title)}\n\n{body}{notes}"


def _latex(table: Table, section: Section) -> str:
    caption = f"{table.title}: {section.title}"
    return latex_table(table.text, table.best, caption, f"{section.name}-{table.name}", table.notes)


def _section_page(section: Section, tables: Sequence[Table], figures: Sequence[FigureFile]) -> dict[str, Any]:
    """What the template needs of a section: text only, and images as base64."""
    return {
        "id": section.name,
        "title": section.title,
        "tables": [
            {
                "title": table.title,
                "columns": list(table.text.columns),
                "rows": [
                    [{"text": cell, "best": (row, column) in table.best} for column, cell in enumerate(cells)]
                    for row, cells in enumerate(table.text.itertuples(index=False, name=None))
                ],
                "notes": table.notes,
                "files": [f"{section.name}/{table.name}{suffix}" for suffix in (".csv", ".md", ".tex")],
            }
            for table in tables
        ],
        "figures": [
            {
                "image": base64.b64encode(item.path.read_bytes()).decode("ascii"),
                "caption": item.caption,
                "wide": item.wide,
            }
            for item in figures
        ],
        "runs": [_run_page(run) for run in section.runs],
    }


def _run_page(run: Run) -> dict[str, Any]:
    details = run.details
    return {
        "title": run.title,
        "name": run.name,
        "choices": run.choices,
        "settings": run.settings,
        "facts": {
            "command": details.get("command", ""),
            "overrides": " ".join(map(str, details.get("overrides") or [])),
            "seed": run.seed,
            "scope of the prototypes": details.get("scope") or "-",
            "git": details.get("git") or "-",
            "versions": ", ".join(f"{name} {version}" for name, version in (details.get("versions") or {}).items()),
        },
        "metrics": [METRIC_TITLES[metric] for metric in METRICS],
        "folds": [
            {
                "fold": fold,
                "metrics": [f"{100 * float(result.metrics[metric]):.2f}" for metric in METRICS],  # type: ignore[arg-type]
                "cells": result.metrics["cells"],
                "started": result.details.get("started", ""),
                "seconds": _seconds(result.details.get("seconds") or {}),
            }
            for fold, result in run.folds.items()
        ],
    }


def _seconds(seconds: Mapping[str, float | None]) -> str:
    return ", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items() if value is not None)


def _page(sections: Sequence[dict[str, Any]], notes: Sequence[str]) -> str:
    environment = templates(Path(__file__).parent)
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return environment.get_template(_TEMPLATE).render(sections=sections, notes=notes, made=made, version=__version__)


if __name__ == "__main__":
    sys.exit(main())
