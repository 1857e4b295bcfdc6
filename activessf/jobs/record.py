"""A job's `status.json`: what it is doing or how it ended. Its own process writes it, everyone else reads it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activessf.owners import from_token

STATUS_FILE = "status.json"

RUNNING, FINISHED, FAILED, STOPPED = "running", "finished", "failed", "stopped"
DEAD, SILENT = "dead", "silent"  # of jobs that say they are running

_SILENT_SECONDS = 180.0


@dataclass(frozen=True)
class JobRecord:
    """What a job says of itself.

    Attributes:
        folder: The job's folder.
        number: Its place in the sweep, from 0; None outside a sweep.
        overrides: What sets it apart from the other jobs.
        said: All of status.json.
        written: When it was written, seconds since 1970 by the file system's clock.
    """

    folder: Path
    number: int | None
    overrides: tuple[str, ...]
    said: Mapping[str, Any]
    written: float

    @property
    def state(self) -> str:
        """`running`, `finished`, `failed` or `stopped` (by a signal).

        Of a job that says it is running, `dead` if its process is known to be gone without a word, `silent` if it is
        on another machine and has said nothing for minutes.
        """
        said = str(self.said.get("state"))
        if said != RUNNING:
            return said
        owner = from_token(str(self.said.get("owner")))
        if owner is not None and owner.is_here:
            return DEAD if owner.is_dead else RUNNING
        return RUNNING if self.age < _SILENT_SECONDS else SILENT

    @property
    def age(self) -> float:
        """Seconds since it was written, by the clocks at hand."""
        return time.time() - self.written

    @property
    def title(self) -> str:
        """The job in a line: its number and its overrides."""
        number = "" if self.number is None else f"{self.number} "
        return f"{number}{' '.join(self.overrides)}".strip() or "(no overrides)"

    @property
    def error(self) -> str:
        """What ended it; "" if nothing did."""
        if self.state == DEAD:
            return "The process is gone without a word: killed, or out of memory."
        return str(self.said.get("error") or "")


def read_record(folder: Path) -> JobRecord | None:
    """The record in a job's folder; None where there is none that can be read."""
    path = folder / STATUS_FILE
    try:
        written = path.stat().st_mtime
        said = json.loads(path.read_text(encoding="utf-8"))
        number = said["job"]
        overrides = tuple(str(override) for override in said["overrides"])
        return JobRecord(folder, None if number is None else int(number), overrides, said, written)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_records(folder: Path) -> list[JobRecord]:
    """The records of all jobs below a folder, by number and then by folder."""
    found = [record for path in folder.rglob(STATUS_FILE) if (record := read_record(path.parent)) is not None]
    return sorted(found, key=lambda record: (-1 if record.number is None else record.number, record.folder))
