"""PR-AUC of pooled test cells with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from activessf.evaluation.intervals import Interval, Pooled
from activessf.evaluation.runs import Run, union_of_classes
from activessf.evaluation.tables.notes import notes_on_folds, notes_on_leaks
from activessf.evaluation.tables.table import NOTHING, Table, listed, marked_class, marked_title, notes_on_marks

# Percentile intervals of fewer units are too narrow to be relied on.
_FEW_UNITS = 20


def intervals_table(
    runs: Sequence[Run], pooled: Mapping[str, Pooled], rare: Collection[str], common: Collection[str]
) -> Table:
    """PR-AUC of the test cells of all folds together, macro and by class, with 95 % intervals.

    The numbers have one row a run and class ("" is the mean over classes), the text one row a run.

    Args:
        runs: Runs of one section, in the order of rows.
        pooled: The pooled PR-AUC of each run, by its name.
        rare: Classes marked with a dagger.
        common: Classes marked with an asterisk.
    """
    classes = union_of_classes(runs)
    values, text = [], []
    for run in runs:
        found = pooled[run.name]
        intervals = found.intervals()
        for metric, interval in intervals.items():
            values.append(
                {"run": run.title, "class": metric.removeprefix("pr_auc").removeprefix("/")}
                | {"pr_auc": 100 * interval.estimate, "lower": 100 * interval.lower, "upper": 100 * interval.upper}
                | {"resamples": interval.resamples, "cells": found.cells, "units": found.units}
            )
        text.append(
            {"Run": marked_title(run), "PR-AUC (%)": _written(intervals["pr_auc"])}
            | {marked_class(name, rare, common): _written(intervals.get(f"pr_auc/{name}")) for name in classes}
            | {"Cells": str(found.cells), "Drawn from": f"{found.units} {found.unit}"}
        )
    notes = [
        "PR-AUC (%) of the test cells of all folds together, and the 2.5th and 97.5th percentile over "
        f"{_resamples(pooled.values())} bootstrap resamples, in each of which whole patients or slides (the column "
        "group) are drawn with replacement; where no group is given, whole images. The folds' networks scale their "
        "probabilities differently, so that this is not the mean over folds. Of classes with few cells the intervals "
        "are somewhat too narrow and lie high, since resamples repeat cells.",
        *notes_on_marks(rare, common),
        *notes_on_folds(runs),
        *_note_on_untested(classes, pooled),
        *_notes_on_few_units(runs, pooled),
        *_notes_on_left_out(runs, pooled),
        *notes_on_leaks(runs),
    ]
    return Table("intervals", "Pooled PR-AUC with 95 % intervals", pd.DataFrame(values), pd.DataFrame(text), notes)


def _written(interval: Interval | None) -> str:
    if interval is None:
        return NOTHING
    mean = f"{100 * interval.estimate:.2f}"
    return mean if math.isnan(interval.lower) else f"{mean} [{100 * interval.lower:.2f}, {100 * interval.upper:.2f}]"


def _resamples(pooled: Collection[Pooled]) -> int:
    return max(len(found.samples["pr_auc"]) for found in pooled)


def _note_on_untested(classes: Sequence[str], pooled: Mapping[str, Pooled]) -> list[str]:
    tested = {metric for found in pooled.values() for metric in found.estimates}
    untested = [name for name in classes if f"pr_auc/{name}" not in tested]
    return [f"Without a test cell in any fold here: {listed(untested)}."] if untested else []


def _notes_on_few_units(runs: Sequence[Run], pooled: Mapping[str, Pooled]) -> list[str]:
    few = [f"{run.title} ({pooled[run.name].units})" for run in runs if pooled[run.name].units < _FEW_UNITS]
    return (
        [f"Fewer than {_FEW_UNITS} groups or images, intervals too narrow (of a single one, none): {', '.join(few)}."]
        if few
        else []
    )


def _notes_on_left_out(runs: Sequence[Run], pooled: Mapping[str, Pooled]) -> list[str]:
    notes = []
    for run in runs:
        found = pooled[run.name]
        total = len(found.samples["pr_auc"])
        lacking = [
            f"{metric.removeprefix('pr_auc/')} {total - interval.resamples}"
            for metric, interval in found.intervals().items()
            if interval.resamples < total
        ]
        if lacking:
            notes.append(
                f"{run.title}: resamples without a cell of a class, which are left out of its interval and have their "
                f"mean over the other classes: {', '.join(lacking)} of {total}."
            )
    return notes
