"""All figures of a section of the report: which runs are drawn together, and what the captions say."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from activessf.data.cells import CELLS_FILE
from activessf.evaluation.baselines import NO_SELECTION, Baseline
from activessf.evaluation.figures.class_distribution import class_distribution
from activessf.evaluation.figures.class_scores import pr_auc_by_class
from activessf.evaluation.figures.comparison import comparison
from activessf.evaluation.figures.precision_recall import pr_curves
from activessf.evaluation.figures.samples import draw_samples
from activessf.evaluation.figures.style import SERIES
from activessf.evaluation.runs import Run, marked_classes, tested_counts, union_of_classes
from activessf.evaluation.sections import Section, file_name
from activessf.evaluation.stages import stage_folder
from activessf.manifests import CELLS, read_table

_NUM_SAMPLES = 6  # crops of each class


@dataclass(frozen=True)
class FigureFile:
    """A written PNG file, with a PDF of the same name beside it.

    Attributes:
        path: The PNG file.
        caption: What it shows.
        wide: Whether it needs the page's whole width.
    """

    path: Path
    caption: str
    wide: bool = False


def section_figures(section: Section, folder: Path, baseline: Baseline = NO_SELECTION) -> list[FigureFile]:
    """Draw the figures of a section into a folder.

    Args:
        section: Runs that are comparable.
        folder: To write into.
        baseline: What runs are drawn beside.
    """
    classes = union_of_classes(section.runs)
    rare, common = marked_classes(section.runs, "rare"), marked_classes(section.runs, "common")
    figures = [_distribution(section, rare, common, folder / "class_distribution.png")]
    for runs in pairs(section.runs, baseline):
        titles = " and ".join(run.title for run in runs)
        path = folder / f"comparison_{file_name(runs[-1].name)}.png"
        comparison(runs, classes, rare, common, path)
        caption = (
            f"{titles}: confusion over all folds, percent of the true class and number of test cells; PR-AUC by class, "
            "mean and sample standard deviation over folds. Rare classes first."
        )
        figures.append(FigureFile(path, caption, wide=True))
        path = folder / f"pr_curves_{file_name(runs[-1].name)}.png"
        pr_curves(runs, classes, rare, common, path)
        caption = (
            f"{titles}: precision against recall by class, rare classes first. A strong line is the mean over "
            "folds of the precision at each recall, so its area is the mean AP, which is the tables' PR-AUC."
        )
        figures.append(FigureFile(path, caption, wide=True))
    for number, runs in enumerate(bar_groups(section.runs), start=1):
        method = runs[0].method
        path = folder / f"pr_auc_{file_name(method)}_{number}.png"
        pr_auc_by_class(runs, classes, rare, common, path)
        caption = "PR-AUC by class" + (" without pretraining" if method == "none" else f", {method}")
        caption += ", mean and sample standard deviation over folds. Rare classes first, on a tinted ground."
        figures.append(FigureFile(path, caption, wide=True))
    return figures


def pairs(runs: Sequence[Run], baseline: Baseline = NO_SELECTION) -> list[list[Run]]:
    """Each run behind its baseline; runs that have none and are none alone."""
    found = [[other, run] for run in runs if (other := baseline.of(run, runs)) is not None]
    shown = {run.name for pair in found for run in pair}
    return found + [[run] for run in runs if run.name not in shown]


def bar_groups(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs of each method that has three or more, as many as there are colours at a time, always with the first.

    The first is selection=none, where that was run. Two runs stand beside each other in a comparison already.
    """
    groups = []
    size = len(SERIES) - 1
    for method in dict.fromkeys(run.method for run in runs):
        first, *others = [run for run in runs if run.method == method]
        if len(others) > 1:
            groups += [[first, *others[start : start + size]] for start in range(0, len(others), size)]
    return groups


def _distribution(section: Section, rare: Collection[str], common: Collection[str], path: Path) -> FigureFile:
    """The labeled cells as they stand on this disk, else as far as the test folds show them."""
    folder = _cells_folder(section.runs)
    if folder is None:
        counts, folds = tested_counts(section.runs)
        samples = {}
        caption = (
            f"Labeled cells by class: the test cells of fold {', '.join(map(str, folds))}, since the crops "
            "that the runs name are not on this disk."
        )
    else:
        cells = read_table(folder / CELLS_FILE, [*CELLS, "crop"])
        counts = {name: int((cells["label"] == name).sum()) for name in union_of_classes(section.runs)}
        samples = draw_samples(cells, folder, _NUM_SAMPLES, np.random.default_rng(0))
        caption = "All labeled cells by class, with crops drawn at random, by turns from every group or image."
    class_distribution(counts, samples, rare, common, path)
    return FigureFile(path, caption)


def _cells_folder(runs: Sequence[Run]) -> Path | None:
    """The labeled cells that the runs were trained and tested on; None if they aren't on this disk."""
    found = (stage_folder(result, "cells") for run in runs for result in run.folds.values())
    return next((folder for folder in found if folder is not None and (folder / CELLS_FILE).is_file()), None)
