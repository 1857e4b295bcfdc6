"""Each run over all classes: the table of the paper, and further metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from activessf.evaluation.baselines import NO_SELECTION, Baseline
from activessf.evaluation.comparisons import METRICS, WORSE, Comparison
from activessf.evaluation.runs import Run
from activessf.evaluation.statistics import mean_and_deviation
from activessf.evaluation.tables.notes import MEANS, notes_on_folds, notes_on_leaks, notes_on_macro_means
from activessf.evaluation.tables.table import (
    METRIC_TITLES,
    NOTHING,
    Table,
    best_of_pairs,
    marked_title,
    mean_columns,
    percent,
    spread,
)

FURTHER_METRICS = ("balanced_accuracy", "mcc", "auroc", "ece", "class_ece", "brier")
_ERRORS = ("ece", "class_ece", "brier")


def overall_table(runs: Sequence[Run], comparisons: Sequence[Comparison], baseline: Baseline = NO_SELECTION) -> Table:
    """Accuracy, macro PR-AUC and macro F1 of each run, mean and sample sd over its folds, in percent (Table II).

    Args:
        runs: Runs of one section, in the order of rows.
        comparisons: Where the stars come from.
        baseline: What the runs were compared with.
    """
    stars = {(item.run.name, item.metric): item.stars for item in comparisons}
    values, text = [], []
    for run in runs:
        figures = {metric: percent(run, metric) for metric in METRICS}
        images, steps = (_each_fold(run, key) for key in ("pretraining_images", "pretraining_steps"))
        values.append(
            {"run": run.title}
            | mean_columns(figures)
            | {"folds": len(run.folds), "of_folds": run.num_folds}
            | {"pretraining_images": mean_and_deviation(images)[0], "pretraining_steps": mean_and_deviation(steps)[0]}
        )
        text.append(
            {"Run": marked_title(run)}
            | {METRIC_TITLES[m]: f"{spread(figures[m])} {stars.get((run.name, m), '')}".rstrip() for m in METRICS}
            | {"Folds": f"{len(run.folds)} of {run.num_folds}"}
            | {"Pretraining images": _range(images), "Pretraining steps": _range(steps)}
        )
    best = best_of_pairs(runs, _means(values, METRICS), first_column=1)
    notes = [MEANS]
    if any(stars.values()):
        paper = ", as in the paper" if baseline == NO_SELECTION else ""
        notes.append(
            f"* p < 0.05 in a paired t-test against the same configuration with {baseline}{paper}; ** also after "
            "the Nadeau-Bengio correction for overlapping training sets and Holm's for the number of comparisons; "
            f"{WORSE} worse than it."
        )
    notes += [*notes_on_folds(runs), *notes_on_leaks(runs), *notes_on_macro_means(runs, "PR-AUC and F1")]
    return Table("overall", "Overall", pd.DataFrame(values), pd.DataFrame(text), notes, best)


def further_metrics_table(runs: Sequence[Run]) -> Table:
    """What the paper does not report: balanced accuracy, MCC, macro AUROC, and errors of the probabilities.

    Args:
        runs: Runs of one section, in the order of rows.
    """
    figures = [{metric: percent(run, metric) for metric in FURTHER_METRICS} for run in runs]
    values = [
        {"run": run.title} | mean_columns(found) | {"folds": len(run.folds)}
        for run, found in zip(runs, figures, strict=True)
    ]
    text = [
        {"Run": marked_title(run)} | {METRIC_TITLES[metric]: spread(found[metric]) for metric in FURTHER_METRICS}
        for run, found in zip(runs, figures, strict=True)
    ]
    lowest = [FURTHER_METRICS.index(metric) for metric in _ERRORS]
    notes = [
        f"{MEANS} MCC is Matthews' correlation coefficient times 100; AUROC is one-vs-rest.",
        "ECE is the expected calibration error of the predicted class in 15 bins; class-wise ECE and Brier score are "
        "means over the classes' one-vs-rest errors. Of these three the lowest is the best. Folds with few cells "
        "overestimate both calibration errors.",
        *notes_on_folds(runs),
        *notes_on_leaks(runs),
        *notes_on_macro_means(runs, "Balanced accuracy, AUROC, class-wise ECE and Brier score"),
    ]
    return Table(
        "further_metrics",
        "Further metrics",
        pd.DataFrame(values),
        pd.DataFrame(text),
        notes,
        best_of_pairs(runs, _means(values, FURTHER_METRICS), 1, lowest),
    )


def _means(values: Sequence[Mapping[str, object]], metrics: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(values)[[f"{metric}_mean" for metric in metrics]]


def _each_fold(run: Run, key: str) -> list[float]:
    found = (result.details.get(key) for result in run.folds.values())
    return [float(value) for value in found if value is not None]


def _range(numbers: Sequence[float]) -> str:
    if not numbers:
        return NOTHING
    low, high = f"{min(numbers):.0f}", f"{max(numbers):.0f}"
    return low if low == high else f"{low} to {high}"
