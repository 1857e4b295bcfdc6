"""The plan of a job, and of a sweep the plans of all its jobs together, in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from activessf.planning.schedule import Cost, makespan, total_seconds
from activessf.planning.times import Time

PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class Piece:
    """One result that a job needs.

    Attributes:
        stage: Such as `regions` or `pretraining`; `run` for the job's own.
        name: Name of the result; equal names are the same result.
        ready: Whether it is there.
        seconds: What making it costs; None if nothing is known of that.
        steps: Optimiser steps of a training; None for other stages, and if it is not known.
        basis: What `seconds` was estimated from.
    """

    stage: str
    name: str
    ready: bool
    seconds: float | None
    steps: int | None = None
    basis: str = ""

    @property
    def cost(self) -> Cost:
        """As it counts in a schedule; what nothing is known of counts nothing."""
        return Cost(f"{self.stage}/{self.name}", 0.0 if self.ready else self.seconds or 0.0)


@dataclass(frozen=True)
class Plan:
    """What one job would do.

    Attributes:
        title: The run, whatever its fold.
        fold: Which.
        pieces: In the order in which they are made.
        devices: Numbers of devices for which a sweep's duration is asked.
        here: Jobs that run at a time where this plan was made; None where that is not known.
        probed: What was timed for it.
    """

    title: str
    fold: int
    pieces: tuple[Piece, ...]
    devices: tuple[int, ...]
    here: int | None = None
    probed: tuple[Time, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `read_plans`."""
        return asdict(self)


def read_plans(folders: Sequence[Path]) -> list[Plan]:
    """The plans in the folders of jobs; those that there are."""
    found = []
    for folder in folders:
        if (folder / PLAN_FILE).is_file():
            said = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
            pieces = tuple(Piece(**piece) for piece in said["pieces"])
            probed = tuple(Time(**time) for time in said["probed"])
            found.append(Plan(said["title"], said["fold"], pieces, tuple(said["devices"]), said["here"], probed))
    return found


def told(plans: Sequence[Plan]) -> str:
    """What would run, what is reused, and how long it takes."""
    unique = {(piece.stage, piece.name): piece for plan in plans for piece in plan.pieces}
    lines = [f"Dry run of {len(plans)} job(s): nothing was trained.", ""]
    lines += _of_jobs(plans)
    lines += ["", f"  {'stage':<12}{'reused':>8}{'to make':>9}{'steps':>11}{'time':>12}"]
    for stage in dict.fromkeys(piece.stage for piece in unique.values()):
        lines.append(_stage_line(stage, [piece for piece in unique.values() if piece.stage == stage]))
    jobs = [[piece.cost for piece in plan.pieces] for plan in plans]
    alone = sum(total_seconds([job]) for job in jobs)
    total = total_seconds(jobs)
    shared = f", {duration(alone)} if no job shared with another" if alone > 1.01 * total else ""
    lines += ["", f"All pieces, each made once: {duration(total)}{shared}."]
    asked = [(f"on {devices:>3} device(s)", devices) for devices in (plans[0].devices if plans else ())]
    if plans and plans[0].here is not None:
        asked.append((f"here, {plans[0].here} at a time", plans[0].here))
    lines += [f"  {where:<17}{duration(makespan(jobs, devices)):>10}" for where, devices in asked]
    lines += _footnotes(list(unique.values()))
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _of_jobs(plans: Sequence[Plan]) -> list[str]:
    """A line for all jobs that do the same but for the fold."""
    alike: dict[tuple[str, str], list[int]] = {}
    for plan in plans:
        alike.setdefault((plan.title, _of_job(plan)), []).append(plan.fold)
    return [f"  {title}, {_folds(folds)}: {what}" for (title, what), folds in alike.items()]


def _folds(folds: Sequence[int]) -> str:
    """Such as `folds 0-2, 4`; with the number of jobs, if there are several of a fold."""
    spans: list[list[int]] = []
    for fold in sorted(set(folds)):
        if spans and fold == spans[-1][-1] + 1:
            spans[-1].append(fold)
        else:
            spans.append([fold])
    words = ", ".join(f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0]) for span in spans)
    number = f" ({len(folds)} jobs)" if len(folds) > len(set(folds)) else ""
    return f"fold{'s' if len(set(folds)) > 1 else ''} {words}{number}"


def _of_job(plan: Plan) -> str:
    missing = [piece for piece in plan.pieces if not piece.ready]
    if not missing:
        return "is there already"
    makes = (f"{piece.stage} ({piece.steps} steps)" if piece.steps else piece.stage for piece in missing)
    reused = dict.fromkeys(piece.stage for piece in plan.pieces if piece.ready)
    return f"makes {', '.join(makes)}" + (f"; reuses {', '.join(reused)}" if reused else "")


def _stage_line(stage: str, pieces: Sequence[Piece]) -> str:
    missing = [piece for piece in pieces if not piece.ready]
    steps = sum(piece.steps or 0 for piece in missing)
    seconds = sum(piece.seconds or 0.0 for piece in missing)
    unknown = any(piece.seconds is None for piece in missing)
    time = "" if not missing else ("?" if unknown and not seconds else duration(seconds) + (" + ?" if unknown else ""))
    return f"  {stage:<12}{len(pieces) - len(missing):>8}{len(missing):>9}{steps or '':>11}{time:>12}".rstrip()


def _footnotes(pieces: Sequence[Piece]) -> list[str]:
    missing = [piece for piece in pieces if not piece.ready]
    bases = Counter((piece.stage, piece.basis) for piece in missing if piece.basis)
    lines = [f"  {stage}: {number} estimated from {basis}." for (stage, basis), number in bases.items()]
    unknown = sorted({piece.stage for piece in missing if piece.seconds is None})
    if unknown:
        lines.append(f"  Nothing is known yet of the cost of {', '.join(unknown)}; it counts as 0 above.")
    return ["", *lines] if lines else []
