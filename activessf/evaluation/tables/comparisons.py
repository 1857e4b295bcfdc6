"""Runs against their baselines, over all classes and class by class."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from activessf.evaluation.baselines import NO_SELECTION, Baseline
from activessf.evaluation.comparisons import Comparison
from activessf.evaluation.intervals import Interval
from activessf.evaluation.runs import Run
from activessf.evaluation.statistics import WILCOXON_PAIRS
from activessf.evaluation.tables.table import (
    METRIC_TITLES,
    Table,
    listed,
    marked_class,
    marked_title,
    notes_on_marks,
    number,
    p_value,
)

# Intervals of differences: by name of the run, then by metric.
Differences = Mapping[str, Mapping[str, Interval]]

_NUMBERS = (
    *("run", "baseline", "metric", "difference", "t", "p", "corrected_p", "holm_p", "wilcoxon_p", "effect_size"),
    *("folds", "paired_folds", "reason", "pooled_difference", "lower", "upper", "resamples"),
)
_TEXTS = (
    *("Difference (points)", "t", "p", "Corrected p", "Holm p", "Wilcoxon p", "Effect size", "Folds paired"),
    "Pooled difference, 95 % interval (points)",
)
_TESTS = (
    "Run minus baseline (the same configuration with {baseline}) over the folds that both have. p: paired t-test, "
    "as in the paper. Corrected p: Nadeau-Bengio, which allows for the training cells that folds share. Holm p: the "
    "corrected p after Holm's correction over the {number} rows of this table."
)
_EFFECT_SIZE = (
    "Effect size: mean over standard deviation of the folds' differences, corrected for few folds (Hedges' g)."
)
_INTERVALS = (
    "Pooled difference: of PR-AUC over the test cells of all paired folds together, with the 2.5th and 97.5th "
    "percentile over resamples of patients or slides (of images where no group is given)."
)


def comparisons_table(
    runs: Sequence[Run],
    comparisons: Sequence[Comparison],
    differences: Differences | None = None,
    baseline: Baseline = NO_SELECTION,
) -> Table:
    """Each run against its baseline: differences in percent points, tests before and after correction, effect sizes.

    Args:
        runs: Runs of the section, for the notes.
        comparisons: The rows.
        differences: Intervals of pooled differences, where there are any.
        baseline: What the runs were compared with.
    """
    found = differences or {}
    values = [_numbers(item, found) for item in comparisons]
    text = [
        {
            "Run": marked_title(item.run),
            "Baseline": marked_title(item.baseline),
            "Metric": METRIC_TITLES[item.metric].removesuffix(" (%)"),
        }
        | _texts(item, found)
        for item in comparisons
    ]
    return Table(
        "comparisons",
        "Against the baseline",
        pd.DataFrame(values, columns=list(_NUMBERS)),
        pd.DataFrame(text, columns=["Run", "Baseline", "Metric", *_TEXTS]),
        _notes_on_comparisons(runs, comparisons, baseline),
    )


def class_comparisons_table(
    comparisons: Sequence[Comparison],
    differences: Differences,
    rare: Collection[str],
    common: Collection[str],
    baseline: Baseline = NO_SELECTION,
) -> Table:
    """PR-AUC of each class of each run against its baseline.

    Args:
        comparisons: The rows, of the metrics pr_auc/<class>.
        differences: Intervals of pooled differences.
        rare: Classes marked with a dagger.
        common: Classes marked with an asterisk.
        baseline: What the runs were compared with.
    """
    classes = [item.metric.removeprefix("pr_auc/") for item in comparisons]
    values = [
        {"class": name, "kind": "rare" if name in rare else "common" if name in common else ""}
        | _numbers(item, differences)
        for item, name in zip(comparisons, classes, strict=True)
    ]
    text = [
        {"Run": marked_title(item.run), "Class": marked_class(name, rare, common)} | _texts(item, differences)
        for item, name in zip(comparisons, classes, strict=True)
    ]
    notes = [
        f"PR-AUC of each class, rare classes first. {_TESTS.format(number=len(comparisons), baseline=baseline)}",
        *notes_on_marks(rare, common),
        *_notes_on_figures(comparisons),
        *_notes_on_untested_classes(comparisons),
    ]
    columns = ["run", "class", "kind", *_NUMBERS[1:]]
    return Table(
        "class_comparisons",
        "Against the baseline, by class",
        pd.DataFrame(values, columns=columns),
        pd.DataFrame(text, columns=["Run", "Class", *_TEXTS]),
        notes,
    )


def _numbers(item: Comparison, differences: Differences) -> dict[str, Any]:
    interval = _interval(item, differences)
    return {
        "run": item.run.title,
        "baseline": item.baseline.title,
        "metric": item.metric,
        "difference": 100 * item.plain.difference,
        "t": item.plain.t,
        "p": item.plain.p,
        "corrected_p": item.corrected.p,
        "holm_p": item.holm_p,
        "wilcoxon_p": item.wilcoxon_p,
        "effect_size": item.effect_size,
        "folds": len(item.folds),
        "paired_folds": " ".join(map(str, item.folds)),
        "reason": item.plain.reason,
        "pooled_difference": 100 * interval.estimate,
        "lower": 100 * interval.lower,
        "upper": 100 * interval.upper,
        "resamples": interval.resamples,
    }


def _texts(item: Comparison, differences: Differences) -> dict[str, str]:
    interval = _interval(item, differences)
    pooled = number(100 * interval.estimate, "+.2f")
    if not math.isnan(interval.lower):
        pooled += f" [{100 * interval.lower:+.2f}, {100 * interval.upper:+.2f}]"

    texts = (
        number(100 * item.plain.difference, "+.2f"),
        number(item.plain.t, ".2f"),
        *map(p_value, (item.plain.p, item.corrected.p, item.holm_p, item.wilcoxon_p)),
        number(item.effect_size, "+.2f"),
        str(len(item.folds)),
        pooled,
    )
    return dict(zip(_TEXTS, texts, strict=True))


def _interval(item: Comparison, differences: Differences) -> Interval:
    nothing = Interval(math.nan, math.nan, math.nan, 0)
    return differences.get(item.run.name, {}).get(item.metric, nothing)


def _notes_on_comparisons(runs: Sequence[Run], comparisons: Sequence[Comparison], baseline: Baseline) -> list[str]:
    notes = [f"No run has a baseline here: run the same configuration with {baseline} to get comparisons."]
    if comparisons:
        notes = [_TESTS.format(number=len(comparisons), baseline=baseline), *_notes_on_figures(comparisons)]
    for item in comparisons:
        if item.plain.reason:
            metric = METRIC_TITLES[item.metric].removesuffix(" (%)")
            notes.append(f"{item.run.title}, {metric}: no ordinary test, {item.plain.reason}.")
    without = baseline.lacking(runs)
    return notes + ([f"Without a baseline: {'; '.join(without)}."] if without else [])


def _notes_on_figures(comparisons: Sequence[Comparison]) -> list[str]:
    notes = [f"{_EFFECT_SIZE} {_INTERVALS}"]
    if any(math.isnan(item.wilcoxon_p) for item in comparisons):
        notes.append(
            f"Wilcoxon's signed-rank test is given from {WILCOXON_PAIRS} folds that differ: of fewer, its p can not be "
            "below 0.05 (0.0625 at least, of five)."
        )
    return notes


def _notes_on_untested_classes(comparisons: Sequence[Comparison]) -> list[str]:
    """One note a reason, not one a row, of which there may be a hundred."""
    reasons: dict[str, list[str]] = {}
    for item in comparisons:
        if item.plain.reason:
            named = f"{item.metric.removeprefix('pr_auc/')} of {item.run.title}"
            reasons.setdefault(item.plain.reason, []).append(named)
    return [f"No ordinary test ({reason}): {listed(rows)}." for reason, rows in reasons.items()]
