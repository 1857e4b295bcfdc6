"""The report on all runs so far: `python -m activessf.evaluation.report`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from activessf.errors import InputError
from activessf.evaluation.baselines import NO_SELECTION, Baseline, check_baseline, read_baseline
from activessf.evaluation.comparisons import compare
from activessf.evaluation.earlier import remove_earlier
from activessf.evaluation.figures.section import section_figures
from activessf.evaluation.formatting import format_table, markdown_table, markdown_text, spreadsheet_text
from activessf.evaluation.intervals import NUM_RESAMPLES
from activessf.evaluation.latex import latex_table
from activessf.evaluation.leaks.checks import CHECKS
from activessf.evaluation.leaks.findings import allowed_checks, examine
from activessf.evaluation.leaks.refusing import TablesRefused, refuse
from activessf.evaluation.page.opened import Limits
from activessf.evaluation.page.page import PAGE, write_index, write_section_page
from activessf.evaluation.runs import Run, collect_runs, tested_counts
from activessf.evaluation.sections import Section, note_on_lacking_runs, split_into_sections
from activessf.evaluation.tables.section import section_tables
from activessf.evaluation.tables.table import Table
from activessf.evaluation.unfinished import failed_jobs, unfinished_folds
from activessf.exits import telling_mistakes
from activessf.manifests import write_table, write_text

_OUTPUTS = Path(__file__).resolve().parents[2] / "outputs"
_LIMITS = Limits()
_REFUSED_STATUS = 3


def write_report(
    runs_dir: Path,
    output_dir: Path,
    data: str | None = None,
    recipe: str | None = None,
    num_resamples: int = NUM_RESAMPLES,
    limits: Limits = _LIMITS,
    allowed: Collection[str] = (),
    baseline: Baseline = NO_SELECTION,
) -> list[str]:
    """Write tables, figures and pages on all runs below a folder.

    Every section (data, recipe, seed) has a folder with its tables (`section_tables`) as .csv, .md and .tex, its
    figures as .png and .pdf, confident_mistakes.csv, and the page index.html, which needs no other file. The page
    index.html above them leads to those of the sections. A section in whose runs a leak is found has the reasons in
    place of all that. What an earlier report has written there is removed.

    Args:
        runs_dir: Folder of run folders, searched recursively.
        output_dir: Folder to write into.
        data: Only runs on this option of the group data.
        recipe: Only runs with this option of the group recipe.
        num_resamples: Number of bootstrap resamples that intervals rest on.
        limits: How much of the cells a page holds.
        allowed: Checks whose leaks are noted below the tables instead (see `leaks.checks`).
        baseline: What every run is compared with, where there is one that is equal in all else.

    Returns:
        Lines for the terminal: the overall table of each section with its notes, and where the pages are.

    Raises:
        TablesRefused: Tables of a section were not given; the rest of the report is written.
        InputError: There is no finished run, none that meets a baseline other than selection=none, or a file of a run
            can't be used.
    """
    found, notes = collect_runs(runs_dir)
    begun = unfinished_folds(runs_dir)
    known = {run.name for run in found}
    without = [item for item in begun if item.run not in known]
    notes += [f"{item.run}, fold {item.fold}: {item.state}." for item in without]
    notes += failed_jobs(runs_dir)
    chosen = _chosen(found, data, recipe)
    if baseline != NO_SELECTION:
        check_baseline(baseline, chosen)
    sections = split_into_sections(chosen)
    lines, pages, refused = list[str](), [], dict[str, tuple[str, ...]]()
    for section in tqdm(sections, desc="Writing the report", unit="section"):
        folder = output_dir / section.name
        findings = examine(section.runs, allowed)
        if findings.refused:
            remove_earlier(folder)
            refused[section.title] = findings.refused
            lines += refuse(section.title, findings.refused, folder)
            continue
        comparisons = compare(section.runs, baseline=baseline)
        counts = tested_counts(section.runs)[0]
        tables = section_tables(section.runs, comparisons, counts, num_resamples, baseline)
        remove_earlier(folder)
        lacking = note_on_lacking_runs(section, without)
        tables = [replace(table, notes=[*table.notes, *lacking, *findings.notes]) for table in tables]
        for table in tables:
            write_table(spreadsheet_text(table.values), folder / f"{table.name}.csv")
            write_text(_markdown(table, section), folder / f"{table.name}.md")
            write_text(_latex(table, section), folder / f"{table.name}.tex")
        figures = [(figure.path, figure.caption, figure.wide) for figure in section_figures(section, folder, baseline)]
        page = write_section_page(section, tables, figures, begun, notes, folder, limits, num_resamples, baseline)
        pages.append((section, tables[0], page))
        lines += [section.title, format_table(tables[0].text), *tables[0].notes, f"Page: {page}", ""]
    index = output_dir / PAGE
    write_index(pages, refused, notes, index)
    lines += [*notes, f"Report: {index}"]
    if refused:
        raise TablesRefused(list(refused), lines)
    return lines


@telling_mistakes
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, write the report, print the overall table; 2 is a user's mistake, 3 a refused table."""
    options = _parser().parse_args(arguments)
    limits = Limits(options.crops, options.mistakes, options.pictures)
    try:
        lines = write_report(
            options.runs,
            options.output,
            options.data,
            options.recipe,
            options.resamples,
            limits,
            allowed_checks(options.allow),
            read_baseline(options.baseline),
        )
        _print(lines)
    except TablesRefused as error:
        _print(error.lines)
        print(f"error: {error}", file=sys.stderr)
        return _REFUSED_STATUS
    return 0


def _print(lines: Sequence[str]) -> None:
    # A terminal that can't show a plus-minus sign gets a question mark, and so does a name's control character.
    text = "".join(character if character.isprintable() or character == "\n" else "?" for character in "\n".join(lines))
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, errors="replace").decode(encoding))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m activessf.evaluation.report",
        description="Write tables (CSV, Markdown, LaTeX), figures (PNG, PDF) and self-contained pages (index.html) "
        "on all runs so far. Runs of different data, recipe or seed get pages of their own. Folds that are not "
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
        "--baseline",
        default=str(NO_SELECTION),
        metavar="GROUP=OPTION",
        help="compare each run with the one that is equal but for this option, such as loss=cross_entropy, "
        "sampler=natural or ssl=mae, or this value of a setting, such as recipe.finetuning.mixup=0 "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--resamples",
        type=_number_of_resamples,
        default=NUM_RESAMPLES,
        metavar="N",
        help="bootstrap resamples that confidence intervals rest on (default: %(default)s)",
    )
    for option, default, what in (
        ("--crops", _LIMITS.shown, "cells shown of each cell of a confusion matrix"),
        ("--mistakes", _LIMITS.mistakes, "confident mistakes shown of each class and run"),
        ("--pictures", _LIMITS.pictures, "pictures of cells on a page, mistakes first; each adds 8 KiB to it at most"),
    ):
        parser.add_argument(
            option, type=_count, default=default, metavar="N", help=f"at most N {what} (default: %(default)s)"
        )
    parser.add_argument(
        "--allow",
        default="",
        metavar="NAME[,NAME]",
        help="give tables in spite of these leaks, and say so below them: " + ", ".join(CHECKS),
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number, 0 or more")
    return int(text)


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
    notes = "".join(f"- {markdown_text(note)}\n" for note in table.printed_notes)
    body = f"{markdown_table(table.text, table.best)}\n" if len(table.text) else ""
    return f"## {table.title}: {markdown_text(section.title)}\n\n{body}{notes}"


def _latex(table: Table, section: Section) -> str:
    caption = f"{table.title}: {section.title}"
    return latex_table(table.text, table.best, caption, f"{section.name}-{table.name}", table.printed_notes)


if __name__ == "__main__":
    sys.exit(main())
