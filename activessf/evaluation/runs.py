"""The run folders that the pipeline writes, read back and put in the order of tables."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from activessf.errors import InputError
from activessf.evaluation.metrics import Metrics, class_names, fold_metrics, read_predictions
from activessf.manifests import read_json

SELECTIONS = ("none", "crf", "random", "activessf")
_FOLD_FOLDER = re.compile(r"fold_(\d+)")


@dataclass(frozen=True)
class FoldResult:
    """One finished fold of a run.

    Attributes:
        fold: Fold number, from 0.
        predictions: One row a test cell, checked (see `metrics.check_predictions`).
        metrics: Recomputed from `predictions`.
        details: What run.json holds: seed, scope, classes, rare, common, command, versions, seconds, ...
        folder: The fold's folder.
    """

    fold: int
    predictions: pd.DataFrame
    metrics: Metrics
    details: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class Run:
    """One configuration and its folds.

    Attributes:
        name: Name of the run folder.
        title: Name in tables, unique within a section.
        choices: Option chosen of each config group, such as {"data": "demo", "selection": "activessf"}.
        settings: The resolved values that define the run, flat, without the fold.
        seed: Seed of the run.
        folds: The finished folds by number, ascending.
        unfinished: Numbers of folds that were started and have no predictions.csv.
    """

    name: str
    title: str
    choices: Mapping[str, str]
    settings: Mapping[str, Any]
    seed: int
    folds: Mapping[int, FoldResult]
    unfinished: tuple[int, ...] = ()

    @property
    def details(self) -> Mapping[str, Any]:
        """What run.json of the first finished fold holds."""
        return next(iter(self.folds.values())).details

    @property
    def method(self) -> str:
        """The option of ssl_method; "none" for a supervised run."""
        return self.choices.get("ssl_method", "none")

    @property
    def selection(self) -> str:
        """The option of selection; "none" for a supervised run, whatever was chosen."""
        return "none" if self.method == "none" else self.choices.get("selection", "none")

    @property
    def num_folds(self) -> int:
        """Number of folds of the cross-validation: as configured, else the highest fold seen."""
        seen = max((*self.folds, *self.unfinished)) + 1
        configured = self.settings.get("data.num_folds")
        return max(seen, configured) if isinstance(configured, int) else seen

    @property
    def saw_test_fold(self) -> bool:
        """Whether the prototypes were made from all labeled cells, those of the test fold among them (scope=all)."""
        return any(result.details.get("scope") == "all" for result in self.folds.values())


def collect_runs(folder: Path) -> tuple[list[Run], list[str]]:
    """All runs below a folder, in no particular order of sections, and notes on what had to be left out.

    A run is `<anything>/<run name>/fold_<i>/` with run.json and, once the fold is finished, predictions.csv. Folds of
    one run name belong together wherever they stand, so results of several machines may be copied side by side.

    Args:
        folder: Folder to search, recursively.

    Raises:
        InputError: There is no such folder, no run in it, no finished fold, or a file that can't be used.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder of runs; train something first, or point --runs at the right folder.")
    found, notes = _fold_folders(folder)
    runs = [_read_run(name, folders) for name, folders in sorted(found.items())]
    finished = [run for run in runs if run.folds]
    if not finished:
        started = sum(len(run.unfinished) for run in runs)
        state = f"has {started} started fold(s) but none finished" if started else "holds no run"
        raise InputError(f"{folder} {state} (<run name>/fold_<i>/predictions.csv); run train.py first.")
    notes += [
        f"{run.title} ({run.name}): no fold is finished yet (started: {_listed(run.unfinished)})."
        for run in runs
        if not run.folds
    ]
    return finished, notes


def in_table_order(runs: Iterable[Run]) -> list[Run]:
    """Supervised runs first, then method by method, each with its baseline first: none, crf, random, activessf."""

    def key(run: Run) -> tuple[bool, str, str, int, str, str]:
        rank = SELECTIONS.index(run.selection) if run.selection in SELECTIONS else len(SELECTIONS)
        return run.method != "none", run.method, run.choices.get("backbone", ""), rank, run.selection, run.title

    return sorted(runs, key=key)


def with_unique_titles(runs: Sequence[Run]) -> list[Run]:
    """The runs with what sets them apart behind titles that are equal, as in "mae + activessf (selection.alpha=0.5)".

    Groups whose options differ are named by the option; single settings are named where no group explains them. Runs
    that differ in nothing (a copied folder) are told apart by the folder's name.
    """
    by_title: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_title[run.title].append(run)
    titles = {}
    for title, equal in by_title.items():
        for run in equal:
            difference = _difference(run, equal)
            titles[run.name] = f"{title} ({difference})" if difference else title
    doubled = [title for title in titles.values() if list(titles.values()).count(title) > 1]
    return [
        replace(run, title=f"{titles[run.name]} [{run.name}]" if titles[run.name] in doubled else titles[run.name])
        for run in runs
    ]


def union_of_classes(runs: Iterable[Run]) -> list[str]:
    """The classes of all runs, in the order of their probability columns."""
    names = (class_names(result.predictions) for run in runs for result in run.folds.values())
    return list(dict.fromkeys(name for classes in names for name in classes))


def marked_classes(runs: Iterable[Run], mark: str) -> set[str]:
    """The classes that some run marks as `rare` or `common`."""
    return {name for run in runs for result in run.folds.values() for name in result.details.get(mark) or []}


def tested_counts(runs: Iterable[Run]) -> tuple[dict[str, int], list[int]]:
    """Test cells of each class over the folds that any run has finished, and these folds."""
    runs = list(runs)
    folds = {fold: result for run in runs for fold, result in run.folds.items()}
    labels = pd.concat([result.predictions["label"] for result in folds.values()])
    return {name: int((labels == name).sum()) for name in union_of_classes(runs)}, sorted(folds)


def _fold_folders(folder: Path) -> tuple[dict[str, dict[int, Path]], list[str]]:
    """Folder of each fold of each run name; folders without run.json are left out with a note."""
    found: dict[str, dict[int, Path]] = defaultdict(dict)
    notes = []
    for path in sorted(folder.rglob("fold_*")):
        match = _FOLD_FOLDER.fullmatch(path.name)
        if match is None or not path.is_dir():
            continue
        fold, name, place = int(match[1]), path.parent.name, path.relative_to(folder)
        if not (path / "run.json").is_file():
            notes.append(f"{place} was left out: it has no run.json, so it is not finished.")
        elif fold not in found[name]:
            found[name][fold] = path
        elif (path / "predictions.csv").is_file() and not (found[name][fold] / "predictions.csv").is_file():
            found[name][fold] = path
        else:
            notes.append(f"{place} was left out: {found[name][fold].relative_to(folder)} is the same fold.")
    return found, notes


def _read_run(name: str, folders: Mapping[int, Path]) -> Run:
    details = {fold: _read_details(path / "run.json") for fold, path in sorted(folders.items())}
    folds = {}
    for fold, path in sorted(folders.items()):
        if (path / "predictions.csv").is_file():
            predictions = read_predictions(path / "predictions.csv")
            folds[fold] = FoldResult(fold, predictions, fold_metrics(predictions), details[fold], path)
    first = details[min(folds or details)]
    return Run(
        name=name,
        title=str(first["title"]),
        choices={str(group): str(option) for group, option in first["choices"].items()},
        settings=first["settings"],
        seed=int(first.get("seed") or 0),
        folds=folds,
        unfinished=tuple(sorted(set(folders) - set(folds))),
    )


def _read_details(path: Path) -> dict[str, Any]:
    details = read_json(path)
    kinds = {"title": str, "choices": dict, "settings": dict}
    if not isinstance(details, dict) or not all(isinstance(details.get(key), kind) for key, kind in kinds.items()):
        raise InputError(
            f"{path} is not what train.py writes (title, choices and settings are needed); delete that fold's folder."
        )
    return details


def _difference(run: Run, others: Sequence[Run]) -> str:
    groups = [group for group in run.choices if any(run.choices[group] != other.choices.get(group) for other in others)]
    explained = tuple(group.replace("/", ".") + "." for group in groups)
    settings = [
        key
        for key in run.settings
        if not key.startswith(explained)
        and any(key in other.settings and run.settings[key] != other.settings[key] for other in others)
    ]
    named = [f"{group}={run.choices[group]}" for group in groups]
    return ", ".join(named + [f"{key}={run.settings[key]}" for key in settings])


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
