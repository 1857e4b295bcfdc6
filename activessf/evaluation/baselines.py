"""The run that another one is compared with: equal in every other setting, and with one given option."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from activessf.cli.spelling import GROUP_ALIASES
from activessf.errors import InputError
from activessf.evaluation.runs import Run

# Runs that differ in these stand in different tables, see `sections`.
_NEVER_COMPARED = ("data", "recipe", "seed")
_MOST_NAMED = 4  # settings in a note


@dataclass(frozen=True)
class Baseline:
    """What makes a run a baseline.

    Attributes:
        key: A config group, such as loss, or a setting by its dotted name, such as recipe.finetuning.mixup.
        option: The option of the group, or the value of the setting as it is typed: 0.8, null, true.
    """

    key: str
    option: str

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.key}={self.option}"

    def value_of(self, run: Run) -> tuple[Any, ...]:
        """The run's own option or value, as a tuple of one; empty where it had no part in the run."""
        values = _options(run) if self.key in _options(run) else run.settings
        return (values[self.key],) if self.key in values and _has_part(run, self.key) else ()

    def is_met_by(self, run: Run) -> bool:
        """Whether a run has the option."""
        return self.value_of(run) in ((self.option,), (_typed(self.option),))

    def partners(self, run: Run, runs: Iterable[Run]) -> list[Run]:
        """The runs with the option that equal `run` in all else; none of a run that has it itself, or no part of it."""
        if not self.value_of(run) or self.is_met_by(run):
            return []
        return [other for other in runs if self.is_met_by(other) and not differences(run, other, self.key)]

    def of(self, run: Run, runs: Iterable[Run]) -> Run | None:
        """The run to compare `run` with; None where there is none, or where several that differ are equal to it."""
        partners = self.partners(run, runs)
        if any(differences(partners[0], other) for other in partners[1:]):
            return None
        return max(partners, key=lambda other: len(other.folds), default=None)

    def lacking(self, runs: Sequence[Run]) -> list[str]:
        """The runs that have another option and no baseline, by the reason."""
        titles: dict[str, list[str]] = {}
        for run in runs:
            if self.value_of(run) and not self.is_met_by(run) and self.of(run, runs) is None:
                titles.setdefault(self._reason(run, runs), []).append(run.title)
        return [f"{', '.join(named)}{reason}" for reason, named in titles.items()]

    def _reason(self, run: Run, runs: Sequence[Run]) -> str:
        partners = self.partners(run, runs)
        if partners:
            found = sorted({name for other in partners[1:] for name in differences(partners[0], other)})
            return f" (several runs with {self} equal it, which differ in {_named(found)})"
        found = min((differences(run, other, self.key) for other in runs if self.is_met_by(other)), key=len, default=[])
        return f" (the nearest run with {self} differs in {_named(found)})" if found else ""


NO_SELECTION = Baseline("selection", "none")  # the paper's


def read_baseline(text: str) -> Baseline:
    """A baseline from the command line, `GROUP=OPTION` or `SETTING=VALUE`; `ssl` stands for ssl_method.

    Raises:
        InputError: It has another form.
    """
    key, _, option = (part.strip() for part in text.partition("="))
    if not key or not option:
        raise InputError(f"--baseline needs GROUP=OPTION, such as loss=cross_entropy, but is {text!r}.")
    first, dot, rest = key.partition(".")
    return Baseline(GROUP_ALIASES.get(first, first) + dot + rest, option)


def check_baseline(baseline: Baseline, runs: Sequence[Run]) -> None:
    """Check that there are runs which can be compared with a baseline.

    Raises:
        InputError: No run has such a group or setting, none has that option or all have, or tables hold
            one option only.
    """
    if baseline.key in _NEVER_COMPARED:
        raise InputError(
            f"--baseline {baseline} compares nothing: runs of different data, recipe or seed are not comparable, and "
            "stand in different tables. Choose another group, such as loss."
        )
    known = [value for run in runs for value in baseline.value_of(run)]
    if not known:
        groups = sorted({group for run in runs for group in _options(run)} - set(_NEVER_COMPARED))
        raise InputError(
            f"No finished run has a group or setting {baseline.key}; --baseline takes the groups {', '.join(groups)}, "
            "or a setting by its dotted name, such as recipe.finetuning.mixup=0."
        )
    if not any(map(baseline.is_met_by, runs)):
        found = ", ".join(sorted({value if isinstance(value, str) else json.dumps(value) for value in known}))
        raise InputError(f"No finished run has {baseline}; there are runs with {found}.")
    if all(baseline.is_met_by(run) for run in runs if baseline.value_of(run)):
        raise InputError(
            f"Every finished run has {baseline}, so none can be compared with it; choose what runs differ in."
        )


def differences(run: Run, other: Run, key: str = "") -> list[str]:
    """The groups and settings in which two runs differ, but for those of `key`.

    A run records those settings only that had a part in it, so settings count that both have. What had no part in
    `other` is no difference: whatever regions were, a run on whole slides is the baseline of one on regions. The
    settings below a group whose options differ are not named beside it.

    Args:
        run: A run.
        other: The run that it may be compared with.
        key: The group or setting that is compared; what belongs to it may differ. The empty string is none.
    """
    without_part = [group for group in _options(other) if not _has_part(other, group)]
    groups = [
        group
        for group in _unequal(_options(run), _options(other))
        if not any(_belongs(group, known) for known in (key, *without_part))
    ]
    settings = [
        name
        for name in _unequal(run.settings, other.settings)
        if not any(_belongs(name, known) for known in (key, *without_part, *groups))
    ]
    return groups + settings


def _options(run: Run) -> dict[str, str]:
    return {**run.choices, "ssl_method": run.method, "selection": run.selection}


def _has_part(run: Run, key: str) -> bool:
    """Whether an option that a run has recorded had a part in it."""
    if key == "selection":
        return run.method != "none"
    if key == "regions":
        return run.selection != "none"
    if key == "selection/features":
        return run.selection not in ("none", "crf")
    if key in ("loss", "sampler"):
        return run.choices.get("evaluation", "finetune") == "finetune"
    return True


def _unequal(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [key for key in one if key in other and one[key] != other[key]]


def _belongs(name: str, key: str) -> bool:
    """Whether a group or setting is `key`, or below it: selection/features and selection.alpha below selection."""
    name, key = name.replace("/", "."), key.replace("/", ".")
    return bool(key) and f"{name}.".startswith(f"{key}.")


def _typed(text: str) -> Any:
    """The value that a text on the command line stands for."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _named(names: Sequence[str]) -> str:
    further = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + further
