"""The study in words: its cells and folds, what is measured and tested, with which software, in which time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from activessf.evaluation.baselines import Baseline
from activessf.evaluation.calibration import NUM_BINS
from activessf.evaluation.comparisons import paired_folds
from activessf.evaluation.intervals import LEVEL
from activessf.evaluation.long_tail import long_tail
from activessf.evaluation.runs import FoldResult, Run, marked_classes, tested_counts, union_of_classes
from activessf.evaluation.statistics import WILCOXON_PAIRS
from activessf.evaluation.wording.sentences import counted, duration, filled, joined, listed, shown

_REVISION_DIGITS = 12


def data_paragraph(runs: Sequence[Run], cells: pd.DataFrame, rare: Collection[str], common: Collection[str]) -> str:
    """Cells by class, images, groups and folds.

    Args:
        runs: Runs of one section.
        cells: Their distinct test cells: image, label, group, fold.
        rare: Classes marked as rare.
        common: Classes marked as common.
    """
    classes = union_of_classes(runs)
    counts = cells["label"].value_counts()
    by_class = ", ".join(
        f"{name} {counts.get(name, 0):,} ({100 * counts.get(name, 0) / len(cells):.1f} %)" for name in classes
    )
    groups = cells["group"].astype(str).replace("nan", "")
    num_groups = groups[groups != ""].nunique()
    of_groups = f", from {counted(num_groups, 'group')} (patients or slides)" if num_groups else ""
    marks = [
        f"{word}: {listed(name for name in classes if name in marked)}."
        for word, marked in (("Rare", rare), ("Common", common))
        if marked
    ]
    name = joined("The data set", runs[0].choices.get("data", ""))
    hidden = runs[0].settings.get("hidden_labels")
    images = counted(cells["image"].nunique(), "image")
    of_classes = "1 class" if len(classes) == 1 else f"{len(classes)} classes"
    return joined(
        f"{name} has {counted(len(cells), 'labeled cell')} of {of_classes} in {images}{of_groups}: {by_class}.",
        *marks,
        filled("{hidden_labels%} % of the labels were hidden from every stage.", runs[0].settings) if hidden else "",
        _folds(runs, grouped=num_groups > 0),
    )


def _folds(runs: Sequence[Run], grouped: bool) -> str:
    number = max(run.num_folds for run in runs)
    tested = sorted({fold for run in runs for fold in run.folds})
    given = {result.details.get("folds_given") for run in runs for result in run.folds.values()}
    how = {
        (False,): ", stratified by class, at random",
        (True,): ", as the data set gives them",
    }.get(tuple(given), "")  # type: ignore[arg-type]
    apart = "; no group is in two folds" if grouped else "; groups of cells are not known"
    apart += _joined(runs, grouped)
    each = "each was tested once by a network trained on the others"
    missing = [fold for fold in range(number) if fold not in tested]
    several = len(missing) > 1
    so_far = f" Fold{'s' * several} {listed(missing)} {'are' if several else 'is'} not finished, and not counted here."
    return f"The cells were divided into {counted(number, 'fold')}{how}{apart}; {each}.{so_far if missing else ''}"


def _joined(runs: Sequence[Run], grouped: bool) -> str:
    """How many groups were kept together for what they show; empty where none were, or runs differ in it."""
    recorded = [result.details.get("joined_groups") for run in runs for result in run.folds.values()]
    sets = recorded[0]
    if not sets or any(other != sets for other in recorded):
        return ""
    what = "groups" if grouped else "cells"
    number = counted(sum(map(len, sets)), what.removesuffix("s"))
    return f", and {number} that show the same as another one, exactly or nearly, were kept together as {len(sets):,}"


def evaluation_paragraph(runs: Sequence[Run], cells: pd.DataFrame, num_resamples: int, baseline: Baseline) -> str:
    """Metrics, intervals and tests.

    Args:
        runs: Runs of one section.
        cells: Their distinct test cells: image, label, group, fold.
        num_resamples: Number of bootstrap resamples that intervals rest on.
        baseline: What the runs were compared with.
    """
    parts = long_tail(tested_counts(runs)[0], marked_classes(runs, "rare"), marked_classes(runs, "common"))
    paired = [len(paired_folds(run, other)) for run in runs if (other := baseline.of(run, runs)) is not None]
    return joined(
        "Reported are accuracy, macro PR-AUC (one-vs-rest average precision, unweighted mean over the classes that the "
        "fold tests) and macro F1, as mean and sample standard deviation over the folds; likewise balanced accuracy, "
        "Matthews' correlation coefficient, macro AUROC, Brier score, and the expected calibration error in "
        f"{NUM_BINS} bins (arXiv 1706.04599), of the predicted class and class by class.",
        f"PR-AUC and F1 were also averaged over head, medium and tail classes. {parts.rule}.",
        f"PR-AUC of the test cells of all folds together has percentile intervals of {100 * LEVEL:g} % from "
        f"{num_resamples:,} bootstrap resamples of {_units(cells)}.",
        _tests(paired, baseline) if any(paired) else "",
    )


def _units(cells: pd.DataFrame) -> str:
    known = cells["group"].astype(str).replace("nan", "") != ""
    if known.all():
        return "whole groups (patients or slides)"
    return "whole groups (patients or slides), or images where no group is known" if known.any() else "whole images"


def _tests(paired: Sequence[int], baseline: Baseline) -> str:
    """How runs were compared over so many folds each."""
    wilcoxon = " and Wilcoxon's signed-rank test" if max(paired) >= WILCOXON_PAIRS else ""
    return joined(
        f"Runs were compared with the same configuration with {baseline} by paired t-tests over the folds; since "
        "training folds overlap, also by the corrected test of Nadeau and Bengio (Machine Learning 52, 2003), with "
        "Holm's correction over all comparisons of a table, of which those by class are one of their own."
        if max(paired) > 1
        else f"Runs were compared with the same configuration with {baseline}; of a single fold there is no test.",
        f"Beside the tests stand the effect size of the paired differences (Hedges' g){wilcoxon}."
        if max(paired) > 2
        else "",
        "Differences of PR-AUC have intervals from the same resamples for both runs.",
    )


def software_paragraph(runs: Sequence[Run]) -> str:
    """Versions, revision, seeds, devices and hours."""
    results = [result for run in runs for result in run.folds.values()]
    names = dict.fromkeys(name for result in results for name in result.details.get("versions") or {})
    versions = [
        f"{name} {listed(_distinct((result.details.get('versions') or {}).get(name) for result in results), 'or')}"
        for name in names
    ]
    revisions = _distinct(map(_revision, results))
    seeds = _distinct(run.seed for run in runs)
    devices = _distinct(result.details.get("device") for result in results)
    return joined(
        f"Software: {listed(versions)}." if versions else "",
        f"Revision of the code: {listed(revisions, 'or')}." if revisions else "",
        f"{'Seed' if len(seeds) == 1 else 'Seeds'}: {listed(seeds)}.",
        f"Device: {listed(devices, 'or')}." if devices else "",
        _hours(results),
    )


def stage_seconds(results: Sequence[FoldResult]) -> dict[str, float]:
    """Seconds of pretraining and of fine-tuning; a pretraining that folds or runs share counts once."""
    pretraining: dict[Any, float] = {}
    finetuning = 0.0
    for place, result in enumerate(results):
        seconds = result.details.get("seconds") or {}
        pretraining[result.details.get("pretraining") or place] = float(seconds.get("pretraining") or 0)
        finetuning += float(seconds.get("finetuning") or 0)
    return {"pretraining": sum(pretraining.values()), "fine-tuning": finetuning}


def _hours(results: Sequence[FoldResult]) -> str:
    seconds = {stage: value for stage, value in stage_seconds(results).items() if value}
    if not seconds:
        return ""
    parts = listed(f"{stage} {duration(value)}" for stage, value in seconds.items())
    return f"All runs and folds took: {parts}."


def _revision(result: FoldResult) -> str | None:
    revision = result.details.get("git")
    if not isinstance(revision, str):
        return None
    commit, _, changes = revision.partition("+")
    return commit[:_REVISION_DIGITS] + (" with uncommitted changes" if changes else "")


def _distinct(values: Any) -> list[str]:
    return list(dict.fromkeys(shown(value) for value in values if value is not None))
