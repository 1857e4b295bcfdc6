"""The three tables of a report: overall, per class, and comparisons with the baseline."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from activessf.evaluation.comparisons import METRICS, WORSE, Comparison
from activessf.evaluation.runs import Run, union_of_classes
from activessf.evaluation.statistics import mean_and_deviation

METRIC_TITLES = {"accuracy": "Accuracy (%)", "pr_auc": "PR-AUC (%)", "f1": "F1-score (%)"}
RARE_MARK = "\N{DAGGER}"
COMMON_MARK = "*"
LEAK_MARK = "\N{DOUBLE DAGGER}"
_PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
_NOTHING = "-"
_PARTS = ("mean", "sd")


@dataclass(frozen=True)
class Table:
    """A table twice over: as numbers and as people read it.

    Attributes:
        name: Name of its files, without a suffix.
        title: Heading.
        values: Numbers in full precision, metrics in percent; missing ones are NaN. This is the CSV file.
        text: The same rounded and joined ("80.36 +- 1.03"), one string a cell. May be laid out differently.
        notes: What a reader must know, one sentence or two each.
        best: Cells of `text` (row, column number) that are the best of their method's runs.
    """

    name: str
    title: str
    values: pd.DataFrame
    text: pd.DataFrame
    notes: list[str]
    best: frozenset[tuple[int, int]] = field(default_factory=frozenset)


def overall_table(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> Table:
    """Accuracy, macro PR-AUC and macro F1 of each run, mean and sample sd over its folds, in percent (Table II).

    Args:
        runs: Runs of one section, in the order of rows.
        comparisons: Where the stars come from.
    """
    stars = {(item.run.name, item.metric): item.stars for item in comparisons}
    values, text = [], []
    for run in runs:
        figures = {metric: mean_and_deviation(_percent(run, metric)) for metric in METRICS}
        images, steps = (_each_fold(run, key) for key in ("pretraining_images", "pretraining_steps"))
        values.append(
            {"run": run.title}
            | {
                f"{metric}_{part}": value
                for metric in METRICS
                for part, value in zip(_PARTS, figures[metric], strict=True)
            }
            | {"folds": len(run.folds), "of_folds": run.num_folds}
            | {"pretraining_images": mean_and_deviation(images)[0], "pretraining_steps": mean_and_deviation(steps)[0]}
        )
        text.append(
            {"Run": _marked_title(run)}
            | {METRIC_TITLES[m]: f"{_spread(*figures[m])} {stars.get((run.name, m), '')}".rstrip() for m in METRICS}
            | {"Folds": f"{len(run.folds)} of {run.num_folds}"}
            | {"Pretraining images": _range(images), "Pretraining steps": _range(steps)}
        )
    best = _best(runs, pd.DataFrame(values)[[f"{metric}_mean" for metric in METRICS]], first_column=1)
    notes = [f"Mean {_PLUS_MINUS} sample standard deviation over folds."]
    if any(stars.values()):
        notes.append(
            "* p < 0.05 in a paired t-test against the same method with selection=none, as in the paper; ** also after "
            "the Nadeau-Bengio correction for overlapping training sets and Holm's for the number of comparisons; "
            f"{WORSE} worse than it."
        )
    notes += [*_notes_on_folds(runs), *_notes_on_leaks(runs), *_notes_on_macro_means(runs)]
    return Table("overall", "Overall", pd.DataFrame(values), pd.DataFrame(text), notes, best)


def per_class_table(runs: Sequence[Run], rare: Collection[str], common: Collection[str]) -> Table:
    """PR-AUC of each class and run (Table I): mean and sample sd over the folds that have a test cell of the class.

    The numbers have one row a run and class, the text one row a run.

    Args:
        runs: Runs of one section, in the order of rows.
        rare: Classes marked with a dagger.
        common: Classes marked with an asterisk.
    """
    classes = union_of_classes(runs)
    values, text, means, notes = [], [], [], []
    for run in runs:
        row, row_means = {"Run": _marked_title(run)}, []
        for name in classes:
            scores = _percent(run, f"pr_auc/{name}")
            mean, deviation = mean_and_deviation(scores)
            kind = "rare" if name in rare else "common" if name in common else ""
            numbers = {"pr_auc_mean": mean, "pr_auc_sd": deviation, "folds": len(scores)}
            values.append({"run": run.title, "class": name, "kind": kind, **numbers})
            row[marked_class(name, rare, common)] = _spread(mean, deviation)
            row_means.append(mean)
        text.append(row)
        means.append(row_means)
    notes.append(f"PR-AUC (%) of each class against the rest, mean {_PLUS_MINUS} sample standard deviation over folds.")
    if rare or common:
        notes.append(f"{RARE_MARK} rare class, {COMMON_MARK} common class.")
    notes += [*_notes_on_absent_classes(runs, classes), *_notes_on_leaks(runs)]
    best = _best(runs, pd.DataFrame(means), first_column=1)
    return Table("per_class", "PR-AUC by class", pd.DataFrame(values), pd.DataFrame(text), notes, best)


def comparisons_table(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> Table:
    """Each run against its baseline: mean difference in percent points, t, p before and after correction.

    Args:
        runs: Runs of the section, for the notes.
        comparisons: The rows.
    """
    values = [
        {
            "run": item.run.title,
            "baseline": item.baseline.title,
            "metric": item.metric,
            "difference": 100 * item.plain.difference,
            "t": item.plain.t,
            "p": item.plain.p,
            "corrected_p": item.corrected.p,
            "holm_p": item.holm_p,
            "folds": len(item.folds),
            "paired_folds": " ".join(map(str, item.folds)),
            "reason": item.plain.reason,
        }
        for item in comparisons
    ]
    text = [
        {
            "Run": _marked_title(item.run),
            "Baseline": _marked_title(item.baseline),
            "Metric": METRIC_TITLES[item.metric].removesuffix(" (%)"),
            "Difference (points)": _number(100 * item.plain.difference, "+.2f"),
            "t": _number(item.plain.t, ".2f"),
            "p": _p_value(item.plain.p),
            "Corrected p": _p_value(item.corrected.p),
            "Holm p": _p_value(item.holm_p),
            "Folds paired": str(len(item.folds)),
        }
        for item in comparisons
    ]
    columns = ["Run", "Baseline", "Metric", "Difference (points)", "t", "p", "Corrected p", "Holm p", "Folds paired"]
    numbers = ["run", "baseline", "metric", "difference", "t", "p", "corrected_p", "holm_p", "folds", "paired_folds"]
    return Table(
        "comparisons",
        "Against the baseline",
        pd.DataFrame(values, columns=[*numbers, "reason"]),
        pd.DataFrame(text, columns=columns),
        _notes_on_comparisons(runs, comparisons),
    )


def marked_class(name: str, rare: Collection[str], common: Collection[str]) -> str:
    """The class name with a dagger if rare, an asterisk if common."""
    return f"{name}{RARE_MARK}" if name in rare else f"{name}{COMMON_MARK}" if name in common else name


def _marked_title(run: Run) -> str:
    return f"{run.title} {LEAK_MARK}" if run.saw_test_fold else run.title


def _percent(run: Run, metric: str) -> list[float]:
    """The metric in each fold that has it."""
    found = (result.metrics.get(metric) for result in run.folds.values())
    return [100 * value for value in found if isinstance(value, float)]


def _each_fold(run: Run, key: str) -> list[float]:
    found = (result.details.get(key) for result in run.folds.values())
    return [float(value) for value in found if value is not None]


def _best(runs: Sequence[Run], means: pd.DataFrame, first_column: int) -> frozenset[tuple[int, int]]:
    """The highest mean of each column among the runs of a method and backbone, where there are two runs at least."""
    kinds = pd.Series([f"{run.method} {run.choices.get('backbone')}" for run in runs])
    best = set()
    for kind in kinds.unique():
        rows = kinds.index[kinds == kind]
        for column in range(means.shape[1]):
            scores = means.iloc[rows, column]
            if len(rows) > 1 and scores.notna().any():
                best |= {(int(row), column + first_column) for row in rows if scores[row] == scores.max()}
    return frozenset(best)


def _spread(mean: float, deviation: float) -> str:
    if math.isnan(mean):
        return _NOTHING
    return f"{mean:.2f}" if math.isnan(deviation) else f"{mean:.2f} {_PLUS_MINUS} {deviation:.2f}"


def _number(value: float, form: str) -> str:
    return _NOTHING if math.isnan(value) else format(value, form)


def _p_value(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else _number(p, ".4f")


def _range(numbers: Sequence[float]) -> str:
    if not numbers:
        return _NOTHING
    low, high = f"{min(numbers):.0f}", f"{max(numbers):.0f}"
    return low if low == high else f"{low} to {high}"


def _notes_on_folds(runs: Sequence[Run]) -> list[str]:
    notes = []
    for run in runs:
        missing = sorted(set(range(run.num_folds)) - set(run.folds))
        if missing:
            started = f" (started, not finished: {_listed(run.unfinished)})" if run.unfinished else ""
            notes.append(f"{run.title}: only fold {_listed(run.folds)}; missing are {_listed(missing)}{started}.")
    if len({tuple(run.folds) for run in runs}) > 1:
        notes.append("The rows rest on different folds: compare them by the paired differences, not by their means.")
    return notes


def _notes_on_leaks(runs: Sequence[Run]) -> list[str]:
    leaky = [run.title for run in runs if run.saw_test_fold]
    return (
        [f"{LEAK_MARK} selection and pretraining saw images of the test fold (selection.scope=all): {_listed(leaky)}."]
        if leaky
        else []
    )


def _notes_on_macro_means(runs: Sequence[Run]) -> list[str]:
    absent = _absences(runs)
    if not absent:
        return []
    named = "; ".join(f"fold {fold}: {_listed(names)}" for fold, names in sorted(absent.items()))
    return [f"PR-AUC and F1 are means over the classes that the fold has test cells of. Without test cells: {named}."]


def _notes_on_absent_classes(runs: Sequence[Run], classes: Sequence[str]) -> list[str]:
    absent = _absences(runs)
    notes = []
    for name in classes:
        folds = sorted(fold for fold, names in absent.items() if name in names)
        if folds:
            seen = sorted({len(set(run.folds) - set(folds)) for run in runs})
            count = str(seen[0]) if len(seen) == 1 else f"{seen[0]} to {seen[-1]}, depending on the run"
            notes.append(f"{name} has no test cell in fold {_listed(folds)}: mean over the other folds ({count}).")
    return notes


def _absences(runs: Sequence[Run]) -> Mapping[int, list[str]]:
    """The classes without a test cell of each fold that lacks any."""
    absent: dict[int, list[str]] = {}
    for run in runs:
        for fold, result in run.folds.items():
            names = result.metrics["absent"]
            assert isinstance(names, list)
            absent.setdefault(fold, []).extend(name for name in names if name not in absent.get(fold, []))
    return {fold: names for fold, names in absent.items() if names}


def _notes_on_comparisons(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> list[str]:
    if not comparisons:
        return ["No run has a baseline here: run the same configuration with selection=none to get comparisons."]
    notes = [
        "Run minus baseline (the same configuration with selection=none) over the folds that both have. p: paired "
        "t-test, as in the paper. Corrected p: Nadeau-Bengio, which allows for the training cells that folds share. "
        f"Holm p: the corrected p after Holm's correction over the {len(comparisons)} rows of this table."
    ]
    for item in comparisons:
        if item.plain.reason:
            metric = METRIC_TITLES[item.metric].removesuffix(" (%)")
            notes.append(f"{item.run.title}, {metric}: no ordinary test, {item.plain.reason}.")
    compared = {item.run.title for item in comparisons}
    without = [run.title for run in runs if run.selection != "none" and run.title not in compared]
    return notes + ([f"Without a baseline: {_listed(without)}."] if without else [])


def _listed(items: Collection[object]) -> str:
    return ", ".join(map(str, items))
