"""Notes below tables: what is missing, and what the numbers rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from activessf.evaluation.runs import Run
from activessf.evaluation.tables.table import LEAK_MARK, PLUS_MINUS, listed

MEANS = f"Mean {PLUS_MINUS} sample standard deviation over folds."


def notes_on_folds(runs: Sequence[Run]) -> list[str]:
    """The folds that a run lacks, and whether rows rest on different ones."""
    notes = []
    for run in runs:
        missing = sorted(set(range(run.num_folds)) - set(run.folds))
        if missing:
            started = f" (started, not finished: {listed(run.unfinished)})" if run.unfinished else ""
            verb = "is" if len(missing) == 1 else "are"
            notes.append(f"{run.title}: only fold {listed(run.folds)}; missing {verb} {listed(missing)}{started}.")
    if len({tuple(run.folds) for run in runs}) > 1:
        notes.append("The rows rest on different folds: compare them by the paired differences, not by their means.")
    return notes


def notes_on_leaks(runs: Sequence[Run]) -> list[str]:
    """The runs whose selection and pretraining saw images of the test fold."""
    leaky = [run.title for run in runs if run.saw_test_fold]
    return (
        [f"{LEAK_MARK} selection and pretraining saw images of the test fold (selection.scope=all): {listed(leaky)}."]
        if leaky
        else []
    )


def notes_on_macro_means(runs: Sequence[Run], metrics: str) -> list[str]:
    """The classes that are in no mean over classes, by fold.

    Args:
        runs: Runs of one section.
        metrics: The means, as the subject of the sentence.
    """
    absent = _absences(runs)
    if not absent:
        return []
    named = "; ".join(f"fold {fold}: {listed(names)}" for fold, names in sorted(absent.items()))
    return [f"{metrics} are means over the classes that the fold has test cells of. Without test cells: {named}."]


def notes_on_absent_classes(runs: Sequence[Run], classes: Sequence[str]) -> list[str]:
    """The folds that a class has no test cell in."""
    absent = _absences(runs)
    notes = []
    for name in classes:
        folds = sorted(fold for fold, names in absent.items() if name in names)
        if folds:
            seen = sorted({len(set(run.folds) - set(folds)) for run in runs})
            if seen == [0]:
                notes.append(f"{name} has no test cell in any fold here, and so no score.")
                continue
            count = str(seen[0]) if len(seen) == 1 else f"{seen[0]} to {seen[-1]}, depending on the run"
            notes.append(f"{name} has no test cell in fold {listed(folds)}: mean over the other folds ({count}).")
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
