"""The runs of a section as rows, and each with all that is known of its configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from activessf.evaluation.comparisons import METRICS
from activessf.evaluation.runs import Run
from activessf.evaluation.stages import audit_page, region_page, relative_link
from activessf.evaluation.tables.table import METRIC_TITLES
from activessf.evaluation.unfinished import Unfinished
from activessf.evaluation.wording.sentences import listed, spanned
from activessf.evaluation.wording.study import stage_seconds

_GROUPS = {
    "ssl_method": "Method",
    "backbone": "Backbone",
    "selection": "Selection",
    "loss": "Loss",
    "sampler": "Sampler",
    "evaluation": "Evaluation",
}


def run_entries(runs: Sequence[Run], begun: Sequence[Unfinished], page: Path) -> list[dict[str, Any]]:
    """What the template says of each run: a row of the table of runs, links, facts, settings and folds.

    Args:
        runs: Runs of one section.
        begun: Folds that were begun and have no result, of any run.
        page: The page that links are relative to.
    """
    return [_entry(run, [item for item in begun if item.run == run.name], page) for run in runs]


def run_columns(runs: Sequence[Run]) -> dict[str, str]:
    """Config groups that have a column of their own in the table of runs, and their headings."""
    return {group: title for group, title in _GROUPS.items() if any(group in run.choices for run in runs)}


def _entry(run: Run, begun: Sequence[Unfinished], page: Path) -> dict[str, Any]:
    seconds = stage_seconds(list(run.folds.values()))
    return {
        "title": run.title,
        "name": run.name,
        "choices": run.choices,
        "settings": run.settings,
        "folds": f"{len(run.folds)} of {run.num_folds}",
        "unfinished": _unfinished(run, begun),
        "images": _range(run, "pretraining_images"),
        "steps": _range(run, "pretraining_steps"),
        "pretraining_hours": _hours(seconds["pretraining"]),
        "finetuning_hours": _hours(seconds["fine-tuning"]),
        "facts": _facts(run),
        "metrics": [METRIC_TITLES[metric] for metric in METRICS],
        "results": [_fold(run, fold, page) for fold in run.folds],
        "regions": _link(region_page(next(iter(run.folds.values()))), page),
    }


def _fold(run: Run, fold: int, page: Path) -> dict[str, Any]:
    result = run.folds[fold]
    return {
        "fold": fold,
        "metrics": [f"{100 * float(result.metrics[metric]):.2f}" for metric in METRICS],  # type: ignore[arg-type]
        "cells": result.metrics["cells"],
        "started": result.details.get("started") or "-",
        "seconds": _seconds(result.details.get("seconds") or {}),
        "device": result.details.get("device") or "-",
        "audit": _link(audit_page(result), page),
        "folder": os.path.relpath(result.folder, page.parent),
    }


def _facts(run: Run) -> dict[str, Any]:
    details = run.details
    return {
        "command": details.get("command") or "-",
        "overrides": " ".join(map(str, details.get("overrides") or [])) or "-",
        "seed": run.seed,
        "scope of the prototypes": details.get("scope") or "-",
        "git": details.get("git") or "-",
        "versions": ", ".join(f"{name} {version}" for name, version in (details.get("versions") or {}).items()),
    }


def _unfinished(run: Run, begun: Sequence[Unfinished]) -> list[str]:
    """What is known of the folds without a result, those of the same state together."""
    known = {fold: "begun, not finished" for fold in run.unfinished} | {item.fold: item.state for item in begun}
    states: dict[str, list[int]] = {}
    for fold in sorted(set(range(run.num_folds)) - set(run.folds)):
        states.setdefault(known.get(fold, "not begun"), []).append(fold)
    return [f"fold{'s' * (len(folds) > 1)} {listed(folds)} {state}" for state, folds in states.items()]


def _link(target: Path | None, page: Path) -> str | None:
    return None if target is None else relative_link(target, page)


def _range(run: Run, key: str) -> str:
    found = [result.details.get(key) for result in run.folds.values()]
    numbers = [number for number in found if isinstance(number, int | float)]
    return spanned(numbers) if numbers else "-"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f}" if seconds else "-"


def _seconds(seconds: Mapping[str, float | None]) -> str:
    return ", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items() if value is not None)
