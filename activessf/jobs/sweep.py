"""A sweep as a whole: which jobs it has, and at its end which are finished, failed and missing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from activessf.jobs.record import DEAD, FAILED, FINISHED, RUNNING, SILENT, STOPPED, JobRecord, read_records

SWEEP_FILE = "sweep.json"
_LISTED = 20  # of a kind, at most
_ERROR_LINES = 6

_started: list[Path] = []  # the folder of the sweep that this process has started


@dataclass(frozen=True)
class Sweep:
    """The jobs of a sweep.

    Attributes:
        folder: The sweep's folder, with one for each job.
        command: The command line as typed; "" if it is not known.
        jobs: The overrides of each job; None if only the sweeper knows them.
        records: What the jobs that have begun say.
        seconds: Since it began.
    """

    folder: Path
    command: str
    jobs: tuple[tuple[str, ...], ...] | None
    records: tuple[JobRecord, ...]
    seconds: float

    def of_state(self, *states: str) -> list[JobRecord]:
        """The jobs in one of these states."""
        return [record for record in self.records if record.state in states]

    @property
    def failed(self) -> list[JobRecord]:
        """The jobs that ended badly on their own."""
        return self.of_state(FAILED, DEAD)

    @property
    def missing(self) -> list[str]:
        """The jobs that have not begun, or were stopped, in words."""
        begun = {record.number for record in self.records}
        titles = [
            (number, f"{number} {' '.join(overrides)}")
            for number, overrides in enumerate(self.jobs or ())
            if number not in begun
        ]
        titles += [(record.number or 0, record.title) for record in self.of_state(STOPPED, SILENT)]
        return [title for _, title in sorted(titles)]


class SweepStart(Callback):
    """Hydra's callback that notes in the sweep's folder which jobs there will be."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Write `sweep.json`."""
        folder = Path(str(config.hydra.sweep.dir)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        plan = {"command": os.environ.get("ACTIVESSF_COMMAND", ""), "jobs": _jobs(config)}
        aside = folder / f".{SWEEP_FILE}"
        aside.write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
        os.replace(aside, folder / SWEEP_FILE)
        _started.append(folder)


def _jobs(config: DictConfig) -> list[list[str]] | None:
    sweeper = config.hydra.sweeper
    if not str(sweeper.get("_target_")).endswith(".BasicSweeper"):
        return None  # others decide as they go
    lines = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    overrides = OverridesParser.create().parse_overrides([*lines, *config.hydra.overrides.task])
    (jobs,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return jobs


def read_sweep(folder: Path) -> Sweep:
    """The sweep in a folder, or the single job there as a sweep of one."""
    records = read_records(folder)
    try:
        plan = json.loads((folder / SWEEP_FILE).read_text(encoding="utf-8"))
        given = None if plan["jobs"] is None else tuple(tuple(map(str, job)) for job in plan["jobs"])
        command, began = str(plan["command"]), (folder / SWEEP_FILE).stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError):
        seconds = max((float(record.said.get("seconds") or 0) + record.age for record in records), default=0.0)
        return Sweep(folder, "", None, tuple(records), seconds)
    # Where a folder is used again, what an earlier sweep has left in it does not count.
    own = tuple(_numbered(record, given) for record in records if record.written >= began)
    return Sweep(folder, command, given, own, time.time() - began)


def _numbered(record: JobRecord, jobs: tuple[tuple[str, ...], ...] | None) -> JobRecord:
    """A job that a launcher has started as a run of its own does not know its number."""
    if record.number is not None or jobs is None or record.overrides not in jobs:
        return record
    return replace(record, number=jobs.index(record.overrides))


def sweep_of_this_process() -> Sweep | None:
    """The sweep that this process has started, once a job of it has begun; None for all others."""
    if not _started:
        return None
    sweep = read_sweep(_started[-1])
    return sweep if sweep.records else None


def forget_sweep() -> None:
    """Forget the sweep that this process has started: it is over."""
    _started.clear()


def exit_status(sweep: Sweep, mistake: int) -> int:
    """0 if no job failed, `mistake` if all that failed did so by a user's mistake, else 1."""
    if not sweep.failed:
        return 0
    return mistake if all(record.said.get("mistake") for record in sweep.failed) else 1


def summary(sweep: Sweep) -> str:
    """What is finished, failed (with the error and the log's last lines) and missing, for the end of a sweep."""
    finished, failed, missing = sweep.of_state(FINISHED), sweep.failed, sweep.missing
    elsewhere = sweep.of_state(RUNNING)
    counts = [f"{len(finished)} finished", f"{len(failed)} failed", f"{len(missing)} missing"]
    counts += [f"{len(elsewhere)} still running"] if elsewhere else []
    lines = [f"{len(finished) + len(failed) + len(missing) + len(elsewhere)} jobs: {', '.join(counts)}."]
    for record in failed[:_LISTED]:
        lines += [f"  failed   {record.title}", f"           {record.folder}"]
        lines += [f"           | {line}" for line in _last_words(record)]
    lines += [f"  missing  {title}" for title in missing[:_LISTED]]
    for kind, number in (("failed", len(failed)), ("missing", len(missing))):
        if number > _LISTED:
            lines.append(f"  ... and {number - _LISTED} more {kind}")
    if failed or missing:
        lines.append("The same command runs the failed and the missing ones again, and those alone.")
    return "\n".join(lines)


def _last_words(record: JobRecord) -> Sequence[str]:
    logged = record.said.get("log")
    error = record.error.splitlines()[-_ERROR_LINES:]
    lines = [str(line) for line in logged] if isinstance(logged, list) else []
    return [*lines[-_ERROR_LINES:], *error]
