"""What the checks say of a table: whether it may be given, and what must stand below it if it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from activessf.errors import InputError
from activessf.evaluation.leaks.checks import CHECKS, Leak
from activessf.evaluation.leaks.evidence import read_evidence
from activessf.evaluation.runs import Run

_SHOWN = 3
_MACHINE = ("git", "versions")


@dataclass(frozen=True)
class Findings:
    """What was found in the runs of one table.

    Attributes:
        refused: Why the table is not given, a sentence or two each; empty where it may be.
        notes: What must be said of the table: leaks that were allowed, what could not be checked, what differs.
    """

    refused: tuple[str, ...]
    notes: tuple[str, ...]


def allowed_checks(names: str) -> frozenset[str]:
    """The checks that a comma list names.

    Raises:
        InputError: There is no such check.
    """
    allowed = frozenset(name.strip() for name in names.split(",") if name.strip())
    unknown = sorted(allowed - set(CHECKS))
    if unknown:
        raise InputError(f"--allow names {unknown[0]!r}, which is no check; the checks are {', '.join(CHECKS)}.")
    return allowed


def examine(runs: Sequence[Run], allowed: Collection[str]) -> Findings:
    """Look for leaks in the runs of one table.

    Args:
        runs: They stand in one table.
        allowed: Names of checks whose leaks don't forbid it.

    Raises:
        InputError: A file of a run can't be used.
    """
    leaks: dict[Leak, list[str]] = defaultdict(list)
    unchecked: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for run in runs:
        evidences = {fold: read_evidence(result.folder) for fold, result in run.folds.items()}
        missing: dict[int, list[str]] = defaultdict(list)
        for name, check in CHECKS.items():
            checked = check(run, evidences)
            for leak in checked.leaks:
                leaks[leak].append(run.title)
            for fold in checked.unchecked:
                missing[fold].append(name)
        by_names: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for fold, lacking in sorted(missing.items()):
            by_names[tuple(lacking)].append(fold)
        for names, folds in by_names.items():
            unchecked[names].append(f"{run.title} (fold {', '.join(map(str, folds))})")
    refused = [_refusal(leak, titles) for leak, titles in leaks.items() if leak.check not in allowed]
    notes = [_allowance(leak, titles) for leak, titles in leaks.items() if leak.check in allowed]
    notes += [
        f"Could not be checked for leaks ({', '.join(names)}), since an earlier version has trained them: "
        f"{'; '.join(titles)}."
        for names, titles in unchecked.items()
    ]
    return Findings(tuple(refused), (*notes, *_differing_machines(runs)))


def _refusal(leak: Leak, titles: Sequence[str]) -> str:
    cure = leak.cure[0].upper() + leak.cure[1:]
    return f"{_told(leak, titles)} {cure}; --allow {leak.check} gives the table all the same, and says so."


def _allowance(leak: Leak, titles: Sequence[str]) -> str:
    return f"Given in spite of a leak, by --allow {leak.check}: {_told(leak, titles)}"


def _told(leak: Leak, titles: Sequence[str]) -> str:
    shown = "; ".join(leak.examples[:_SHOWN])
    more = f"; and {len(leak.examples) - _SHOWN} more" if len(leak.examples) > _SHOWN else ""
    return f"{leak.check}: in {', '.join(titles)}, {leak.found} ({shown}{more})."


def _differing_machines(runs: Sequence[Run]) -> list[str]:
    """Folds of a row that other versions or revisions made: no leak, but a reader should know."""
    notes = []
    for run in runs:
        for key in _MACHINE:
            said = {fold: result.details[key] for fold, result in run.folds.items() if result.details.get(key)}
            first = next(iter(said), None)
            if first is not None and (others := [fold for fold in said if said[fold] != said[first]]):
                what = "revisions of this code" if key == "git" else "versions of packages"
                folds = ", ".join(map(str, others))
                notes.append(f"{run.title}: fold {folds} ran with other {what} than fold {first}.")
    return notes
