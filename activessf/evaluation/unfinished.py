"""Folds that were begun and have no result: what trainings leave behind when they run, are stopped, or fail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from activessf.jobs.record import DEAD, FAILED, FINISHED, JobRecord, read_records
from activessf.owners import from_token

_PARTIAL = re.compile(r"\.fold_(\d+)\.partial-(.+)")
_CHECKPOINTS = re.compile(r"(.+)-fold_(\d+)")
_FOLD = re.compile(r"fold_(\d+)")
_TRAINING_LOG = "train.log"
_LISTED = 20


@dataclass(frozen=True, order=True)
class Unfinished:
    """A fold without a result.

    Attributes:
        run: Name of the run folder.
        fold: Fold number.
        state: What is known of it, for a reader.
    """

    run: str
    fold: int
    state: str


def unfinished_folds(runs_dir: Path) -> list[Unfinished]:
    """The folds that were begun and are not finished, each once, in order of run and fold.

    While a fold is made, and after a kill, a hidden partial folder stands beside its own (see `artifacts`). A training
    that is stopped leaves checkpoints, one whose loss is no number the batch that did it, beside the folder of runs
    (see `training.resuming`, `training.finite`).

    Args:
        runs_dir: The folder of runs, searched recursively.
    """
    found: dict[tuple[str, int], str] = {}
    for run, fold, state in (*_diverged(runs_dir.parent), *_stopped(runs_dir.parent), *_begun(runs_dir)):
        found.setdefault((run, fold), state)
    return sorted(
        Unfinished(run, fold, state)
        for (run, fold), state in found.items()
        if not any(runs_dir.rglob(f"{_escaped(run)}/fold_{fold}/predictions.csv"))
    )


def failed_jobs(runs_dir: Path) -> list[str]:
    """A note for each job of train.py that has failed, with its error, and has not been finished since.

    A job that fails before it trains leaves nothing in the folder of runs: only its record tells.

    Args:
        runs_dir: The folder of runs; the records are in `jobs`, beside it.
    """
    newest: dict[tuple[str, ...], JobRecord] = {}
    for record in sorted(read_records(runs_dir.parent / "jobs"), key=lambda record: record.written):
        trains = Path(str(record.said.get("log_file"))).name == _TRAINING_LOG
        if trains and record.state in (FAILED, DEAD, FINISHED):
            newest[tuple(sorted(record.overrides))] = record
    failed = [record for record in newest.values() if record.state != FINISHED]
    notes = [f"The job {' '.join(record.overrides)} failed: {_last_line(record.error)}" for record in failed[:_LISTED]]
    return notes + ([f"And {len(failed) - _LISTED} more jobs failed."] if len(failed) > _LISTED else [])


def _last_line(error: str) -> str:
    return (error.strip().splitlines() or ["its error is not known."])[-1]


def _begun(runs_dir: Path) -> Iterator[tuple[str, int, str]]:
    for path in sorted(runs_dir.rglob(".fold_*.partial-*")):
        match = _PARTIAL.fullmatch(path.name)
        if match is not None:
            yield path.parent.name, int(match[1]), f"{_state(match[2])} (begun {_changed(path)})"


def _state(token: str) -> str:
    owner = from_token(token)
    if owner is None or not owner.is_here:
        return "runs, or was killed"
    return "was killed" if owner.is_dead else "runs"


def _stopped(outputs: Path) -> Iterator[tuple[str, int, str]]:
    for path in sorted((outputs / "checkpoints").glob("*-fold_*")):
        match = _CHECKPOINTS.fullmatch(path.name)
        checkpoints = list(path.glob("*.ckpt"))
        if match is not None and checkpoints:
            newest = _changed(max(checkpoints, key=lambda file: file.stat().st_mtime))
            yield match[1], int(match[2]), f"runs, or was stopped in fine-tuning (checkpoint of {newest})"


def _diverged(outputs: Path) -> Iterator[tuple[str, int, str]]:
    for path in sorted((outputs / "failed").glob("*/fold_*")):
        match = _FOLD.fullmatch(path.name)
        if match is not None and any(path.iterdir()):
            yield (
                path.parent.name,
                int(match[1]),
                "failed: its loss was no number (the batch is kept in outputs/failed)",
            )


def _changed(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
