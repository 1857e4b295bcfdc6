"""What all tables are made of: their form, marks, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from activessf.evaluation.runs import Run
from activessf.evaluation.statistics import mean_and_deviation

METRIC_TITLES = {
    "accuracy": "Accuracy (%)",
    "pr_auc": "PR-AUC (%)",
    "f1": "F1-score (%)",
    "balanced_accuracy": "Balanced accuracy (%)",
    "mcc": "MCC (%)",
    "auroc": "AUROC (%)",
    "ece": "ECE (%)",
    "class_ece": "Class-wise ECE (%)",
    "brier": "Brier score (%)",
}
RARE_MARK = "\N{DAGGER}"
COMMON_MARK = "*"
LEAK_MARK = "\N{DOUBLE DAGGER}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
NOTHING = "-"


@dataclass(frozen=True)
class Table:
    """A table twice over: as numbers and as people read it.

    Attributes:
        name: Name of its files, without a suffix.
        title: Heading.
        values: Numbers in full precision, metrics in percent; missing ones are NaN. This is the CSV file.
        text: The same rounded and joined ("80.36 +- 1.03"), one string a cell. May be laid out differently.
        notes: What a reader must know, one sentence or two each.
        best: Cells of `text` (row, column number) that are printed bold.
        bold: What bold print means.
    """

    name: str
    title: str
    values: pd.DataFrame
    text: pd.DataFrame
    notes: list[str]
    best: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    bold: str = "Bold: the best of a method's runs on the same backbone."

    @property
    def printed_notes(self) -> list[str]:
        """The notes below the table where it has bold print, which a terminal and a CSV file have not."""
        return [*self.notes, self.bold] if self.best else self.notes


def marked_class(name: str, rare: Collection[str], common: Collection[str]) -> str:
    """The class name with a dagger if rare, an asterisk if common."""
    return f"{name}{RARE_MARK}" if name in rare else f"{name}{COMMON_MARK}" if name in common else name


def notes_on_marks(rare: Collection[str], common: Collection[str]) -> list[str]:
    """What the marks of classes mean, where there are any."""
    return [f"{RARE_MARK} rare class, {COMMON_MARK} common class."] if rare or common else []


def marked_title(run: Run) -> str:
    """The title with a double dagger if the run saw images of the test fold."""
    return f"{run.title} {LEAK_MARK}" if run.saw_test_fold else run.title


def percent(run: Run, metric: str) -> list[float]:
    """The metric in each fold that has it, in percent."""
    found = (result.metrics.get(metric) for result in run.folds.values())
    return [100 * value for value in found if isinstance(value, float)]


def mean_columns(figures: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Columns <name>_mean and <name>_sd from the values over folds, by name."""
    columns = {}
    for name, values in figures.items():
        columns[f"{name}_mean"], columns[f"{name}_sd"] = mean_and_deviation(values)
    return columns


def best_of_pairs(
    runs: Sequence[Run], means: pd.DataFrame, first_column: int, lowest: Collection[int] = ()
) -> frozenset[tuple[int, int]]:
    """The best mean of each column among the runs of a method and backbone, where there are two runs at least.

    Args:
        runs: The runs, in the order of rows.
        means: One row a run.
        first_column: Column number in the table of the first column of `means`.
        lowest: Columns of `means` in which the lowest is best; in the others it is the highest.
    """
    kinds = pd.Series([f"{run.method} {run.choices.get('backbone')}" for run in runs])
    best = set()
    for kind in kinds.unique():
        rows = kinds.index[kinds == kind]
        for column in range(means.shape[1]):
            scores = means.iloc[rows, column]
            if len(rows) > 1 and scores.notna().any():
                extreme = scores.min() if column in lowest else scores.max()
                best |= {(int(row), column + first_column) for row in rows if scores[row] == extreme}
    return frozenset(best)


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation; the mean alone of a single value."""
    mean, deviation = mean_and_deviation(values)
    if math.isnan(mean):
        return NOTHING
    return f"{mean:.2f}" if math.isnan(deviation) else f"{mean:.2f} {PLUS_MINUS} {deviation:.2f}"


def number(value: float, form: str) -> str:
    """The number in a format, a dash for NaN."""
    return NOTHING if math.isnan(value) else format(value, form)


def p_value(p: float) -> str:
    """A p value with four digits."""
    return "< 0.0001" if p < 0.0001 else number(p, ".4f")


def listed(items: Collection[object]) -> str:
    """The items with commas between."""
    return ", ".join(map(str, items))
