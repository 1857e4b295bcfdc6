"""The paper's numbers beside ours, each with whose it is: the paper's data are clinical and private."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from activessf.evaluation.comparisons import METRICS, WORSE, Comparison
from activessf.evaluation.published.numbers import (
    classes_of_kind,
    has_its_classes,
    is_significant,
    metrics_of,
    row_of,
    table_2,
)
from activessf.evaluation.runs import Run
from activessf.evaluation.statistics import mean_and_deviation
from activessf.evaluation.tables.table import (
    METRIC_TITLES,
    NOTHING,
    PLUS_MINUS,
    Table,
    marked_class,
    marked_title,
    notes_on_marks,
    percent,
    spread,
)

PUBLISHED = "published (clinical data, five folds)"
MEASURED = "measured (this data)"
_CORRECTED = (
    "Of MIXMIM, PR-AUC and F1 are exchanged against Table II, which prints each under the other's name: the means of "
    "Table I's rows tell."
)


def published_differences_table(
    runs: Sequence[Run], comparisons: Sequence[Comparison], by_class: Sequence[Comparison]
) -> Table | None:
    """What ActiveSSF gains in the paper, and what it gains here, in percent points; None where nothing corresponds.

    Class by class only where the classes are the paper's eleven.

    Args:
        runs: Runs of one section.
        comparisons: Accuracy, PR-AUC and F1 of its runs against the same with selection=none.
        by_class: The same of pr_auc/<class>, rare classes first.
    """
    clinical = all(has_its_classes(run) for run in runs)
    values, text = [], []
    order = {run.name: place for place, run in enumerate(runs)}
    for item in sorted([*comparisons, *(by_class if clinical else ())], key=lambda item: order[item.run.name]):
        row, baseline = row_of(item.run, table_2()), row_of(item.baseline, table_2())
        if row is None or baseline is None or item.metric not in metrics_of(row):
            continue
        published = metrics_of(row)[item.metric][0] - metrics_of(baseline)[item.metric][0]
        star = " *" if is_significant(row, item.metric) else ""
        measured = 100 * item.plain.difference
        values.append(
            {"row": row, "run": item.run.title, "metric": item.metric, "published_difference": published}
            | {"published_significant": bool(star), "measured_difference": measured}
            | {"measured_p": item.plain.p, "measured_holm_p": item.holm_p, "folds": len(item.folds)}
        )
        text.append(
            {"Row of the paper": row, "Run": marked_title(item.run), "Metric": _title(item.metric)}
            | {f"Difference, {PUBLISHED}": f"{published:+.2f}{star}"}
            | {f"Difference, {MEASURED}": _measured(item), "Folds paired": str(len(item.folds))}
        )
    if not values:
        return None
    return Table(
        "published_differences",
        "Gain by ActiveSSF: published and measured",
        pd.DataFrame(values),
        pd.DataFrame(text),
        _notes_on_differences(clinical, [str(row["row"]) for row in values]),
    )


def published_scores_table(runs: Sequence[Run]) -> Table | None:
    """Tables I and II of the paper, each row above ours; None unless the classes are the paper's eleven.

    Args:
        runs: Runs of one section, in the order of rows.
    """
    values, text, rows = [], [], []
    for run in runs:
        row = row_of(run, table_2())
        if row is None or not has_its_classes(run):
            continue
        rows.append(row)
        published = metrics_of(row)
        ours = {metric: percent(run, metric) for metric in published}
        for source, title, figures in (
            ("published", row, published),
            ("measured", run.title, {metric: mean_and_deviation(found) for metric, found in ours.items()}),
        ):
            values += [
                {"source": source, "row": row, "run": title, "metric": metric, "mean": mean, "sd": deviation}
                for metric, (mean, deviation) in figures.items()
            ]
        text.append(
            {"Source": PUBLISHED, "Run": row} | {_title(m): _spread(*figure) for m, figure in published.items()}
        )
        text.append(
            {"Source": MEASURED, "Run": marked_title(run)} | {_title(m): spread(found) for m, found in ours.items()}
        )
    if not values:
        return None
    notes = [
        f"Mean {PLUS_MINUS} standard deviation over folds, in percent; below a class's name its PR-AUC. The paper's "
        "cells are not these cells: its numbers are a reference, not a target.",
        *notes_on_marks(classes_of_kind("rare"), classes_of_kind("common")),
        *_note_on_correction(rows),
    ]
    return Table("published_scores", "Published and measured scores", pd.DataFrame(values), pd.DataFrame(text), notes)


def _title(metric: str) -> str:
    """The metric, or the class with the paper's mark."""
    if metric in METRICS:
        return METRIC_TITLES[metric].removesuffix(" (%)")
    return marked_class(metric.removeprefix("pr_auc/"), classes_of_kind("rare"), classes_of_kind("common"))


def _measured(item: Comparison) -> str:
    return f"{100 * item.plain.difference:+.2f} {item.stars}".rstrip() if item.folds else NOTHING


def _spread(mean: float, deviation: float) -> str:
    return f"{mean:.2f} {PLUS_MINUS} {deviation:.2f}"


def _notes_on_differences(clinical: bool, rows: Sequence[str]) -> list[str]:
    notes = [
        "With ActiveSSF minus without, in percent points. Published: differences of the means in Tables I and II "
        "(arXiv 2502.08200), of its private clinical data; * its p < 0.05, of which it says nothing by class. "
        "Measured: the runs of this report against the same configuration with selection=none; * p < 0.05 in a paired "
        f"t-test, ** also after both corrections (Nadeau-Bengio, Holm), {WORSE} worse than it."
    ]
    if clinical:
        notes += notes_on_marks(classes_of_kind("rare"), classes_of_kind("common"))
    else:
        notes.append("By class nothing is set beside: the classes here are not the paper's, or made up.")
    return [*notes, *_note_on_correction(rows)]


def _note_on_correction(rows: Sequence[Any]) -> list[str]:
    return [_CORRECTED] if any(str(row).startswith("MIXMIM") for row in rows) else []
