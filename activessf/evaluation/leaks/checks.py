"""The checks, each by a name by which it can be overridden: what the folds of a run are tested on and made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from activessf.data.folds import unlabeled_pool
from activessf.evaluation.leaks.evidence import Evidence
from activessf.evaluation.runs import Run
from activessf.manifests import PROTOTYPES

_TRAIN_AGAIN = "delete the folders of this run and train it again"

_SHARED_STAGES = ("cells", "folds", "regions")  # whose results all folds rest on


@dataclass(frozen=True)
class Leak:
    """Something that a run may not have known of its test cells.

    Attributes:
        check: Name of the check that found it.
        found: What was found, a clause.
        examples: Where, the first few.
        cure: What to do about it, a clause.
    """

    check: str
    found: str
    examples: tuple[str, ...]
    cure: str


@dataclass(frozen=True)
class Checked:
    """What one check says of a run.

    Attributes:
        leaks: What it found.
        unchecked: The folds that don't hold what the check needs.
    """

    leaks: tuple[Leak, ...] = ()
    unchecked: tuple[int, ...] = ()


Evidences = Mapping[int, Evidence | None]


def groups_in_two_folds(run: Run, evidences: Evidences) -> Checked:
    """No group (patient, slide) and no image is in two folds: tested in both, or tested in one and trained on there."""
    tested = {fold: result.predictions for fold, result in run.folds.items()}
    leaks = []
    for kind in ("group", "image"):
        where: dict[str, set[str]] = {}
        folds_of: dict[str, list[int]] = {}
        for fold, cells in tested.items():
            names = set(cells[kind]) - {""}
            for name in names:
                folds_of.setdefault(name, []).append(fold)
            evidence = evidences[fold]
            trained = set() if evidence is None else names & set(evidence.training[kind])
            for name in trained:
                where.setdefault(name, set()).add(f"tested in fold {fold} and trained on there")
        for name, folds in folds_of.items():
            if len(folds) > 1:
                where.setdefault(name, set()).add(f"tested in folds {_listed(folds)}")
        if where:
            leaks.append(
                Leak(
                    "groups",
                    f"{len(where)} {kind}{'s are' if len(where) > 1 else ' is'} in more than one fold",
                    tuple(f"{name!r} {', '.join(sorted(said))}" for name, said in sorted(where.items())),
                    "correct the columns group and split of the cells, so that a patient or slide is in one fold, and "
                    "train again",
                )
            )
    # With all folds at hand, what one trains on is what the others test.
    whole = len(run.folds) == run.num_folds
    return Checked(tuple(leaks), () if whole else _without_evidence(evidences))


def test_images_in_pretraining(run: Run, evidences: Evidences) -> Checked:
    """Pretraining saw no image with a test cell, nor one of a test cell's group.

    A run with `selection.scope=all` has asked for just that, and counts as one that did.
    """
    if all(result.details.get("pretraining_images") is None for result in run.folds.values()):
        return Checked()
    leaks = []
    shared = [fold for fold, result in run.folds.items() if result.details.get("scope") == "all"]
    if shared:
        leaks.append(
            Leak(
                "pool",
                "selection and pretraining saw images of the test fold (selection.scope=all)",
                (f"fold {_listed(shared)}",),
                "train with selection.scope=train_fold",
            )
        )
    seen = []
    for fold, evidence in evidences.items():
        if evidence is None or evidence.pretraining is None or fold in shared:
            continue
        images, groups = evidence.pretraining["image"], evidence.pretraining["group"]
        known = {image: group for image, group in zip(images, groups, strict=True) if group}
        allowed = set(unlabeled_pool(list(images), run.folds[fold].predictions, fold, known))
        seen += [f"{image!r} in fold {fold}" for image in images if image not in allowed]
    if seen:
        found = f"pretraining saw {len(seen)} image{'s' if len(seen) > 1 else ''} that test cells come from"
        leaks.append(Leak("pool", found, tuple(seen), _TRAIN_AGAIN))
    unchecked = [
        fold
        for fold, evidence in evidences.items()
        if (evidence is None or evidence.pretraining is None) and fold not in shared
    ]
    return Checked(tuple(leaks), tuple(unchecked))


def prototypes_from_test_labels(run: Run, evidences: Evidences) -> Checked:
    """Where `selection.scope=train_fold`, the prototypes own as many cells of each class as the training folds have."""
    wrong, unchecked = [], []
    for fold, result in run.folds.items():
        evidence = evidences[fold]
        if result.details.get("scope") != "train_fold":
            continue
        if evidence is None or evidence.selection is None or evidence.prototypes is None:
            unchecked.append(fold)
            continue
        wrong += _foreign_selection(evidence.selection, fold, result.details)
        wrong += [f"fold {fold}: {said}" for said in _miscounted(evidence.prototypes, evidence.training)]
    found = "the selection was not made from the labels of the training folds"
    leaks = (Leak("prototypes", found, tuple(wrong), _TRAIN_AGAIN),) if wrong else ()
    return Checked(leaks, tuple(unchecked))


def duplicates_across_folds(run: Run, evidences: Evidences) -> Checked:
    """No test cell shows the same as a training cell, exactly or nearly (see `data.near_duplicates`)."""
    examples, sets, cells = [], set(), 0
    for fold, evidence in evidences.items():
        if evidence is None or evidence.duplicates.empty:
            continue
        spanning = evidence.duplicates
        tested = spanning["fold"] == fold
        cells += int(tested.sum())
        for number, members in spanning.groupby("set"):
            sets.add(number)
            test, training = (members[members["fold"].eq(fold) == side].iloc[0] for side in (True, False))
            examples.append(f"{_cell(test)} in fold {fold} and {_cell(training)} in fold {training['fold']}")
    if not examples:
        return Checked(unchecked=_without_evidence(evidences))
    found = f"{cells} test cell{'s show' if cells > 1 else ' shows'} the same as a training cell, exactly or nearly"
    cure = (
        "remove the copies or keep them in one fold (data.join_duplicates=true does where folds are made, the column "
        "split where they are given), and train again"
    )
    return Checked((Leak("duplicates", found, tuple(examples), cure),), _without_evidence(evidences))


def folds_of_different_configurations(run: Run, evidences: Evidences) -> Checked:
    """All folds of a row ran with the same settings, seed, classes, folds and versions of the stages."""
    differing = []
    for key, values in sorted(_configurations(run).items()):
        first, *others = values
        differing += [
            f"{key} is {values[fold]!r} in fold {fold} and {values[first]!r} in fold {first}"
            for fold in others
            if values[fold] != values[first]
        ]
    if not differing:
        return Checked()
    cure = "keep the folds of one configuration in a folder of their own name, or train those that differ again"
    return Checked((Leak("configurations", "its folds ran with different settings", tuple(differing), cure),))


CHECKS: Mapping[str, Callable[[Run, Evidences], Checked]] = {
    "groups": groups_in_two_folds,
    "pool": test_images_in_pretraining,
    "prototypes": prototypes_from_test_labels,
    "duplicates": duplicates_across_folds,
    "configurations": folds_of_different_configurations,
}


def _configurations(run: Run) -> dict[str, dict[int, Any]]:
    """Of each setting: its value in every fold that says it. One that a fold lacks is None there."""
    values: dict[str, dict[int, Any]] = {}
    names = {name for result in run.folds.values() for name in result.details["settings"]}
    for fold, result in run.folds.items():
        details = result.details
        for name in names:
            values.setdefault(name, {})[fold] = details["settings"].get(name)
        said = {name: details[name] for name in ("seed", "scope", "classes") if name in details}
        said |= {name: made for name, made in details.get("stages", {}).items() if name in _SHARED_STAGES}
        versions = {f"version of {stage}": version for stage, version in details.get("stage_versions", {}).items()}
        for name, value in (said | versions).items():  # of which the first runs knew less
            values.setdefault(name, {})[fold] = value
    return values


def _foreign_selection(selection: Mapping[str, Any], fold: int, details: Mapping[str, Any]) -> list[str]:
    """How a selection is not that of this fold."""
    expected = {"scope": "train_fold", "fold": fold, "folds": details.get("stages", {}).get("folds")}
    return [
        f"fold {fold}: the selection has {name}={selection.get(name)!r}, not {value!r}"
        for name, value in expected.items()
        if selection.get(name) != value
    ]


def _miscounted(prototypes: pd.DataFrame, training: pd.DataFrame) -> list[str]:
    """The classes of which the prototypes own more or fewer cells than there are to train on."""
    if prototypes.empty:
        return []  # a selection without prototypes
    owned = prototypes[[name for name in prototypes.columns if name not in PROTOTYPES]].sum()
    there = training.groupby("label")["cells"].sum()
    return [
        f"the prototypes own {int(owned.get(name, 0))} cells of {name!r}, the training folds have "
        f"{int(there.get(name, 0))}"
        for name in sorted(set(owned.index) | set(there.index))
        if owned.get(name, 0) != there.get(name, 0)
    ]


def _without_evidence(evidences: Evidences) -> tuple[int, ...]:
    return tuple(fold for fold, evidence in evidences.items() if evidence is None)


def _cell(row: pd.Series[Any]) -> str:
    return f"{row['image']!r} at {row['x']:g}, {row['y']:g}"


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
