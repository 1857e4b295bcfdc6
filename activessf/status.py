"""What is running, on one screen: `python -m activessf.status [DIR] [--watch [SECONDS]]`.

DIR is the folder of a sweep or of a single job; without one it is the newest below `outputs/jobs`. Only files are
read, so this works over ssh, and on any machine that sees the folder.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from activessf.errors import InputError
from activessf.exits import telling_mistakes
from activessf.jobs.record import DEAD, FAILED, FINISHED, RUNNING, SILENT, STATUS_FILE, STOPPED, JobRecord
from activessf.jobs.sweep import SWEEP_FILE, Sweep, read_sweep
from activessf.planning.plan import duration

_JOBS = Path(__file__).resolve().parents[1] / "outputs" / "jobs"
_CLEAR = "\x1b[H\x1b[2J"
_ERROR_LINES = 3
_LEAST_ROWS = 3
_REUSED = 0.1  # of the longest job: one that takes less has only found what was there


@telling_mistakes
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the screen, once or again and again until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m activessf.status", description="Jobs and how far they are.")
    parser.add_argument("folder", nargs="?", type=Path, help="of a sweep or job; default: the newest one")
    parser.add_argument("--jobs", type=Path, default=_JOBS, help=f"where to look for the newest one (default: {_JOBS})")
    parser.add_argument("--watch", nargs="?", const=5.0, type=float, metavar="SECONDS", help="again and again")
    given = parser.parse_args(arguments)
    folder = newest(given.jobs) if given.folder is None else given.folder
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name that of a sweep or job, such as one below outputs/jobs.")
    if given.watch is not None and not 0 < given.watch < float("inf"):
        raise InputError(f"--watch {given.watch} must be a number of seconds above 0.")
    try:
        while True:
            size = shutil.get_terminal_size((120, 40))
            text = screen(read_sweep(folder), size.columns, size.lines - 1)
            print((_CLEAR if given.watch else "") + text, flush=True)
            if not given.watch:
                return 0
            time.sleep(given.watch)
    except KeyboardInterrupt:
        return 0


def newest(jobs: Path) -> Path:
    """The folder of the sweep or job that has given the last sign of life.

    Raises:
        InputError: There is none.
    """
    there = [path for name in (SWEEP_FILE, STATUS_FILE) for path in jobs.glob(f"*/{name}")]
    there += jobs.glob(f"*/*/{STATUS_FILE}")
    if not there:
        raise InputError(f"There is no job in {jobs}; name the folder of one.")
    latest = max(there, key=lambda path: path.stat().st_mtime)
    return jobs / latest.relative_to(jobs).parts[0]


def screen(sweep: Sweep, columns: int, rows: int) -> str:
    """The state of all jobs, those that run in a line each, and the last error.

    Args:
        sweep: The jobs.
        columns: Width of the screen, characters.
        rows: Its height, lines.
    """
    states = {state: sweep.of_state(state) for state in (FINISHED, RUNNING, SILENT, FAILED, DEAD, STOPPED)}
    waiting = 0 if sweep.jobs is None else max(0, len(sweep.jobs) - len(sweep.records))
    counts = [f"{len(records)} {state}" for state, records in states.items() if records]
    counts += [f"{waiting} waiting"] if waiting else []
    head = [f"{sweep.folder}", sweep.command, f"{', '.join(counts) or 'no job yet'}{_left(sweep, waiting)}", ""]
    error = _error(states[FAILED] + states[DEAD])
    running = states[RUNNING] + states[SILENT]
    room = max(_LEAST_ROWS, rows - len(head) - len(error) - 2)
    table = [_HEADINGS, *(_row(record) for record in running[:room])] if running else []
    if len(running) > room:
        table.append(f"... and {len(running) - room} more")
    return "\n".join(_printable(line)[:columns] for line in [*(line for line in head), *table, *error])


_HEADINGS = (
    f"{'job':>4} {'at':<34} {'step':>15} {'epoch':>5} {'loss':>8} {'s/step':>7} {'left':>7} {'GiB':>5} "
    f"{'cores':>5}  where"
)


def _row(record: JobRecord) -> str:
    said = record.said
    step, total, rate = said.get("step") or 0, said.get("total") or 0, said.get("seconds_per_step")
    at = str(said.get("activity") or said.get("doing") or "starting")
    left = duration(rate * (total - step)) if rate else ""
    loss = said.get("loss")
    number = "" if record.number is None else str(record.number)
    where = f"{said.get('host')}:{said.get('pid')}"
    if "gpu" in said:
        where += f" {said['gpu']} {float(said['gpu_gib']):.1f} GiB"
    if record.state == SILENT:
        where += f" SILENT for {duration(record.age)}"
    return (
        f"{number:>4} {at[:34]:<34} {f'{step}/{total}' if total else '':>15} {said.get('epoch') if total else '':>5} "
        f"{f'{loss:.4f}' if loss is not None else '':>8} {f'{rate:.3g}' if rate else '':>7} {left:>7} "
        f"{float(said.get('memory_gib') or 0):>5.1f} {float(said.get('cores') or 0):>5.1f}  {where}  "
        f"{' '.join(record.overrides)}"
    )


def _left(sweep: Sweep, waiting: int) -> str:
    """When the sweep may be over, from the jobs that are: as many at a time as there are now."""
    running = [float(record.said.get("seconds") or 0) for record in sweep.of_state(RUNNING)]
    finished = [float(record.said.get("seconds") or 0) for record in sweep.of_state(FINISHED)]
    if not running:
        return ""
    # A job whose result was there already tells nothing of the others.
    least = max(running + finished) * _REUSED
    worked = [seconds for seconds in finished if seconds >= least]
    if not worked:
        return f"; {duration(sweep.seconds)} so far"
    mean = sum(worked) / len(worked)
    left = max(mean * (waiting + len(running)) - sum(running), 0.0) / len(running)
    return f"; {duration(sweep.seconds)} so far, about {duration(left)} to go"


def _error(failed: Sequence[JobRecord]) -> list[str]:
    if not failed:
        return []
    last = min(failed, key=lambda record: record.age)
    lines = last.error.strip().splitlines()[-_ERROR_LINES:]
    return ["", f"last error, job {last.title}, {last.folder}", *(f"  {line}" for line in lines)]


def _printable(line: str) -> str:
    """File names and messages are no commands to a terminal."""
    return "".join(character if character.isprintable() else " " for character in line)


if __name__ == "__main__":
    sys.exit(main())
