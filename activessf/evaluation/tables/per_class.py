"""Each class by itself: PR-AUC, calibration, and means over head, medium and tail."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from activessf.evaluation.long_tail import LongTail, long_tail
from activessf.evaluation.runs import Run, union_of_classes
from activessf.evaluation.statistics import mean_and_deviation
from activessf.evaluation.tables.notes import (
    MEANS,
    notes_on_absent_classes,
    notes_on_folds,
    notes_on_leaks,
    notes_on_macro_means,
)
from activessf.evaluation.tables.table import (
    PLUS_MINUS,
    Table,
    best_of_pairs,
    listed,
    marked_class,
    marked_title,
    mean_columns,
    notes_on_marks,
    percent,
    spread,
)

_LONG_TAIL_METRICS = {"pr_auc": "PR-AUC (%)", "f1": "F1-score (%)"}


def per_class_table(runs: Sequence[Run], rare: Collection[str], common: Collection[str]) -> Table:
    """PR-AUC of each class and run (Table I): mean and sample sd over the folds that have a test cell of the class.

    The numbers have one row a run and class, the text one row a run.

    Args:
        runs: Runs of one section, in the order of rows.
        rare: Classes marked with a dagger.
        common: Classes marked with an asterisk.
    """
    note = f"PR-AUC (%) of each class against the rest, mean {PLUS_MINUS} sample standard deviation over folds."
    return _class_table("per_class", "PR-AUC by class", runs, ("pr_auc",), rare, common, note)


def calibration_table(runs: Sequence[Run], rare: Collection[str], common: Collection[str]) -> Table:
    """Calibration error and Brier score of each class against the rest, mean and sample sd over folds, in percent.

    The text shows the calibration error, the numbers both.

    Args:
        runs: Runs of one section, in the order of rows.
        rare: Classes marked with a dagger.
        common: Classes marked with an asterisk.
    """
    note = (
        f"Expected calibration error (%) of each class against the rest in 15 bins, mean {PLUS_MINUS} sample standard "
        "deviation over folds; the lowest is the best. A rare class has a small one whatever is predicted, since most "
        "of its probabilities are near 0: compare runs, not classes. The CSV file has the Brier scores too."
    )
    return _class_table(
        "calibration", "Calibration by class", runs, ("class_ece", "brier"), rare, common, note, lowest=True
    )


def long_tail_table(
    runs: Sequence[Run], counts: Mapping[str, int], rare: Collection[str], common: Collection[str]
) -> Table:
    """PR-AUC and F1 of head, medium and tail: in each fold the mean over classes, then mean and sd over folds.

    Args:
        runs: Runs of one section, in the order of rows.
        counts: Labeled cells of each class over all folds.
        rare: Classes that the data set marks as rare.
        common: Classes that it marks as common.
    """
    parts = long_tail(counts, rare, common)
    values, text, means = [], [], []
    for run in runs:
        row, row_means = {"Run": marked_title(run)}, []
        for part, names in parts.parts.items():
            figures = {metric: _fold_means(run, metric, names) for metric in _LONG_TAIL_METRICS}
            described = {"run": run.title, "part": part, "classes": "; ".join(names)}
            values.append(described | mean_columns(figures) | {"folds": len(figures["pr_auc"])})
            for metric, title in _LONG_TAIL_METRICS.items():
                row[f"{part.capitalize()} {title}"] = spread(figures[metric])
                row_means.append(mean_and_deviation(figures[metric])[0])
        text.append(row)
        means.append(row_means)
    best = best_of_pairs(runs, pd.DataFrame(means), first_column=1)
    notes = [*_notes_on_parts(parts, counts), f"In each fold the mean over the part's classes. {MEANS}"]
    notes += [*notes_on_folds(runs), *notes_on_leaks(runs), *notes_on_macro_means(runs, "A part's means")]
    return Table("long_tail", "Head, medium and tail classes", pd.DataFrame(values), pd.DataFrame(text), notes, best)


def _class_table(
    name: str,
    title: str,
    runs: Sequence[Run],
    metrics: Sequence[str],
    rare: Collection[str],
    common: Collection[str],
    note: str,
    lowest: bool = False,
) -> Table:
    """One row a run and class in the numbers; one row a run, of the first metric, in the text."""
    classes = union_of_classes(runs)
    values, text, means = [], [], []
    for run in runs:
        row, row_means = {"Run": marked_title(run)}, []
        for label in classes:
            figures = {metric: percent(run, f"{metric}/{label}") for metric in metrics}
            kind = "rare" if label in rare else "common" if label in common else ""
            numbers = mean_columns(figures) | {"folds": len(figures[metrics[0]])}
            values.append({"run": run.title, "class": label, "kind": kind} | numbers)
            row[marked_class(label, rare, common)] = spread(figures[metrics[0]])
            row_means.append(numbers[f"{metrics[0]}_mean"])
        text.append(row)
        means.append(row_means)
    notes = [note, *notes_on_marks(rare, common), *notes_on_folds(runs)]
    notes += [*notes_on_absent_classes(runs, classes), *notes_on_leaks(runs)]
    best = best_of_pairs(runs, pd.DataFrame(means), 1, range(len(classes)) if lowest else ())
    return Table(name, title, pd.DataFrame(values), pd.DataFrame(text), notes, best)


def _fold_means(run: Run, metric: str, names: Sequence[str]) -> list[float]:
    """The mean over the given classes in each fold that has a test cell of one of them, in percent."""
    found = []
    for result in run.folds.values():
        values = [result.metrics.get(f"{metric}/{name}") for name in names]
        known = [value for value in values if isinstance(value, float)]
        if known:
            found.append(100 * mean_and_deviation(known)[0])
    return found


def _notes_on_parts(parts: LongTail, counts: Mapping[str, int]) -> list[str]:
    described = []
    for part, names in parts.parts.items():
        cells = [counts[name] for name in names]
        number = f"{min(cells)} to {max(cells)}" if len(set(cells)) > 1 else f"{cells[0]}" if cells else ""
        described.append(f"{part}: {listed(names)} ({number} cells)" if names else f"{part}: none")
    return [f"{parts.rule}. {'; '.join(described)}."]
