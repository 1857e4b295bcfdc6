"""The report on all runs so far: `python -m activessf.evaluation.report`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from activessf.errors import InputError
from activessf.evaluation.comparisons import baseline_of, compare
from activessf.evaluation.figures import SERIES, class_distribution, confusion_matrices, pr_auc_by_class
from activessf.evaluation.formatting import format_table, markdown_table, markdown_text
from activessf.evaluation.intervals import NUM_RESAMPLES
from activessf.evaluation.latex import latex_table
from activessf.evaluation.page.opened import Limits
from activessf.evaluation.page.page import PAGE, write_index, write_section_page
from activessf.evaluation.runs import Run, collect_runs, marked_classes, union_of_classes
from activessf.evaluation.sections import Section, file_name, split_into_sections
from activessf.evaluation.tables.section import section_tables
from activessf.evaluation.tables.table import Table
from activessf.evaluation.unfinished import unfinished_folds
from activessf.manifests import write_table, write_text

_OUTPUTS = Path(__file__).resolve().parents[2] / "outputs"
_LIMITS = Limits()


@dataclass(frozen=True)
class Figure:
    """A written PNG file with its caption."""

    path: Path
    caption: str
    wide: bool = False


def write_report(
    runs_dir: Path,
    output_dir: Path,
    data: str | None = None,
    recipe: str | None = None,
    num_resamples: int = NUM_RESAMPLES,
    limits: Limits = _LIMITS,
) -> list[str]:
    """Write tables, figures and pages on all runs below a folder.

    Every section (data, recipe, seed) has a folder with its tables (`section_tables`) as .csv, .md and .tex, its
    figures as .png, confident_mistakes.csv, and the page index.html, which needs no other file. The page index.html
    above them leads to those of the sections.

    Args:
        runs_dir: Folder of run folders, searched recursively.
        output_dir: Folder to write into.
        data: Only runs on this option of the group data.
        recipe: Only runs with this option of the group recipe.
        num_resamples: Number of bootstrap resamples that intervals rest on.
        limits: How much of the cells a page holds.

    Returns:
        Lines for the terminal: the overall table of each section with its notes, and where the pages are.

    Raises:
        InputError: There is no finished run, or a file of a run can't be used.
    """
    found, notes = collect_runs(runs_dir)
    begun = unfinished_folds(runs_dir)
    known = {run.name for run in found}
    notes += [f"{item.run}, fold {item.fold}: {item.state}." for item in begun if item.run not in known]
    sections = split_into_sections(_chosen(found, data, recipe))
    lines, pages = [], []
    for section in tqdm(sections, desc="Writing the report", unit="section"):
        comparisons = compare(section.runs)
        tables = section_tables(section.runs, comparisons, _class_counts(section.runs)[0], num_resamples)
        folder = output_dir / section.name
        for table in tables:
            write_table(table.values, folder / f"{table.name}.csv")
            write_text(_markdown(table, section), folder / f"{table.name}.md")
            write_text(_latex(table, section), folder / f"{table.name}.tex")
        figures = [(figure.path, figure.caption, figure.wide) for figure in _figures(section, folder)]
        page = write_section_page(section, tables, figures, begun, notes, folder, limits)
        pages.append((section, tables[0], page))
        lines += [section.title, format_table(tables[0].text), *tables[0].notes, f"Page: {page}", ""]
    index = output_dir / PAGE
    write_index(pages, notes, index)
    return [*lines, *notes, f"Report: {index}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, write the report, print the overall table; 2 is a user's mistake."""
    options = _parser().parse_args(arguments)
    limits = Limits(options.crops, options.mistakes, options.pictures)
    try:
        lines = write_report(options.runs, options.output, options.data, options.recipe, options.resamples, limits)
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
        description="Write tables (CSV, Markdown, LaTeX), figures (PNG) and self-contained pages (index.html) on all "
        "runs so far. Runs of different data, recipe or seed get pages of their own. Folds that are not finished are "
        "left out and named, so it can be run at any time.",
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
    for option, default, what in (
        ("--crops", _LIMITS.shown, "cells shown of each cell of a confusion matrix"),
        ("--mistakes", _LIMITS.mistakes, "confident mistakes shown of each class and run"),
        ("--pictures", _LIMITS.pictures, "pictures of cells on a page, mistakes first; each adds 8 KiB to it at most"),
    ):
        parser.add_argument(
            option, type=_count, default=default, metavar="N", help=f"at most N {what} (default: %(default)s)"
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
    notes = "".join(f"- {markdown_text(note)}\n" for note in table.notes)
    body = f"{markdown_table(table.text, table.best)}\n" if len(table.text) else ""
    return f"## {table.title}: {markdown_text(section.title)}\n\n{body}{notes}"


def _latex(table: Table, section: Section) -> str:
    caption = f"{table.title}: {section.title}"
    return latex_table(table.text, table.best, caption, f"{section.name}-{table.name}", table.notes)


def _figures(section: Section, folder: Path) -> list[Figure]:
    classes = union_of_classes(section.runs)
    rare, common = marked_classes(section.runs, "rare"), marked_classes(section.runs, "common")
    figures = []

    counts, folds = _class_counts(section.runs)
    path = folder / "class_distribution.png"
    class_distribution(counts, rare, common, path)
    figures.append(Figure(path, f"Class distribution of the labeled cells (test cells of fold {_listed(folds)})."))

    for number, runs in enumerate(_bar_groups(section.runs), start=1):
        method = runs[0].method
        path = folder / f"pr_auc_{file_name(method)}_{number}.png"
        pr_auc_by_class(runs, classes, rare, common, path)
        caption = "PR-AUC by class" + (" without pretraining" if method == "none" else f", {method}")
        figures.append(Figure(path, f"{caption}. Rare classes on top, on a tinted ground."))

    for runs in _confusion_groups(section.runs):
        path = folder / f"confusion_{file_name(runs[-1].name)}.png"
        confusion_matrices(runs, classes, path)
        titles = " and ".join(run.title for run in runs)
        caption = f"Confusion of {titles}, folds pooled: percent of the true class, and number of test cells."
        figures.append(Figure(path, caption, wide=len(runs) > 1))
    return figures


def _class_counts(runs: Sequence[Run]) -> tuple[dict[str, int], list[int]]:
    """Test cells of each class over the folds that any run has finished, and these folds."""
    folds = {fold: result for run in runs for fold, result in run.folds.items()}
    labels = pd.concat([result.predictions["label"] for result in folds.values()])
    return {name: int((labels == name).sum()) for name in union_of_classes(runs)}, sorted(folds)


def _bar_groups(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs of each method, as many as there are colours at a time, each time with the first (the baseline)."""
    groups = []
    for method in dict.fromkeys(run.method for run in runs):
        first, *others = [run for run in runs if run.method == method]
        size = len(SERIES) - 1
        groups += [[first, *others[start : start + size]] for start in range(0, max(len(others), 1), size)]
    return groups


def _confusion_groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Each ActiveSSF run beside its baseline; every other run alone."""
    baselines = {run.name: baseline_of(run, runs) for run in runs if run.selection == "activessf"}
    pairs = [[baseline, run] for run in runs if (baseline := baselines.get(run.name)) is not None]
    shown = {run.name for pair in pairs for run in pair}
    return pairs + [[run] for run in runs if run.name not in shown]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


if __name__ == "__main__":
    sys.exit(main())
