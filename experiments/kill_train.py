"""A five-fold sweep killed again and again: does the same command go on, and end with the same bytes?

    python experiments/kill_train.py --kills 50

`train.py ssl=mae selection=activessf fold=0..4 -m recipe=quick` on made-up slides, with few steps and a checkpoint
after each, is killed (SIGKILL) at moments drawn at random: a third whenever, a third while a checkpoint is written, a
third while a result is being filled or published. It is the whole group of processes that is killed, or one of them
alone (the parent, a loader's worker), by turns. The same command is given each time, until it ends by itself; where a
sweep ends before all kills are used up, another one is begun in an empty folder. Then every predictions.csv,
metrics.json, encoder.safetensors and selection.csv must equal, byte by byte, those of an undisturbed sweep, and no
process and no unfinished folder may be left. The exit status is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from killing import members, outliving, started
from tqdm import tqdm

REPOSITORY = Path(__file__).resolve().parents[1]
MOMENTS = ("any", "checkpoint", "result")
_RESULTS = ("runs/*/fold_*/predictions.csv", "runs/*/fold_*/metrics.json", "stages/*/*/encoder.safetensors")
_TABLES = ("stages/selection/*/selection.csv", "stages/folds/*/folds.csv")
_KILLS_A_SWEEP = 25
_SECONDS = 1800  # a sweep that takes longer waits for something that does not come


@dataclass
class Tally:
    """What came of all sweeps.

    Attributes:
        kills: Number of kills by what was killed and when.
        sweeps: Sweeps that ended by themselves after having been killed.
        findings: What should not be.
    """

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    sweeps: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def num_kills(self) -> int:
        """Kills so far."""
        return sum(self.kills.values())


@dataclass(frozen=True)
class Sweep:
    """The command that is killed.

    Attributes:
        settings: Of train.py, without the output folder.
        expected: `results` of an undisturbed sweep.
        seconds: What that took.
    """

    settings: Sequence[str]
    expected: dict[str, bytes]
    seconds: float

    def run(self, output: Path, most_kills: int, rng: np.random.Generator, tally: Tally) -> None:
        """Give the command until it ends by itself, killed at most `most_kills` times; then look at what is there."""
        first = tally.num_kills
        while tally.num_kills - first < most_kills and self._killed(output, rng, tally):
            pass
        kills = tally.num_kills - first
        status, console = completed(self.settings, output)
        if status != 0:
            tally.findings.append(
                f"{output.name}: after {kills} kills the command ends with {status}: {console[-400:]}"
            )
            return
        tally.sweeps += 1
        found = results(output)
        differing = sorted(
            name for name in found.keys() | self.expected.keys() if found.get(name) != self.expected.get(name)
        )
        if differing:
            tally.findings.append(f"{output.name}: after {kills} kills these files differ: {differing[:5]}")
        if left := unfinished(output):
            tally.findings.append(f"{output.name}: after {kills} kills there is left {left[:5]}")

    def _killed(self, output: Path, rng: np.random.Generator, tally: Tally) -> bool:
        """Start the sweep and kill it at a random moment; False if it had ended before."""
        kind = MOMENTS[tally.num_kills % len(MOMENTS)]
        due = moment(kind, output, rng, self.seconds)
        process = started(command(self.settings, output), output / "temporary")
        while process.poll() is None and not due():
            time.sleep(0.001)
        if process.poll() is not None:
            process.communicate()
            return False
        way = kill(process.pid, ("group", "one")[tally.num_kills % 2], rng)
        tally.kills[way, kind] += 1
        try:
            process.communicate(timeout=60)  # who has lost a worker ends by itself
        except subprocess.TimeoutExpired:
            tally.findings.append(f"{output.name}: the sweep neither goes on nor ends after a kill of {way} ({kind})")
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        if orphans := outliving(process.pid, 20):
            tally.findings.append(f"{output.name}: processes outlive a kill of {way} ({kind}): {orphans}")
            os.killpg(process.pid, signal.SIGKILL)
        return True


def kill(session: int, way: str, rng: np.random.Generator) -> str:
    """Kill a group of processes or one of them; says which it was: group, parent or child."""
    if way == "group":
        os.killpg(session, signal.SIGKILL)
        return "group"
    chosen = int(rng.choice(sorted(members(session)) or [session]))
    os.kill(chosen, signal.SIGKILL)
    if chosen == session:
        return "parent"
    time.sleep(5)
    if members(session):  # a child that nobody missed, such as a helper of multiprocessing
        os.killpg(session, signal.SIGKILL)
        return "child, then group"
    return "child"


def moment(kind: str, output: Path, rng: np.random.Generator, seconds: float) -> Callable[[], bool]:
    """Tells when to kill.

    Args:
        kind: One of `MOMENTS`.
        output: The sweep's folder.
        rng: Draws the moment.
        seconds: What an undisturbed sweep takes.
    """
    latest = time.monotonic() + rng.uniform(3, max(4, seconds / 3))
    if kind == "any":
        return lambda: time.monotonic() >= latest
    pattern = "checkpoints/*/.*" if kind == "checkpoint" else "*/*/.*.partial-*/*"
    times = int(rng.integers(1, 30))  # not always the first one
    seen: set[str] = set()

    def due() -> bool:
        seen.update(str(path) for path in output.glob(pattern))
        return len(seen) >= times or time.monotonic() >= latest + seconds / 3

    return due


def command(settings: Sequence[str], output: Path) -> list[str]:
    """The command that a user gives."""
    return [sys.executable, str(REPOSITORY / "train.py"), *settings, f"paths.output_dir={output}", "-m"]


def completed(settings: Sequence[str], output: Path) -> tuple[int, str]:
    """Exit status and console of the command, left in peace."""
    process = started(command(settings, output), output / "temporary")
    try:
        console = process.communicate(timeout=_SECONDS)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return -1, f"does not end in {_SECONDS} s"
    return process.returncode, console


def results(output: Path) -> dict[str, bytes]:
    """The files that must not differ, by path."""
    found = [path for pattern in (*_RESULTS, *_TABLES) for path in output.glob(pattern)]
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in found}


def unfinished(output: Path) -> list[str]:
    """Folders that were being filled, temporary files and checkpoints that nobody needs any more."""
    left = [path for pattern in ("*/*/.*", "checkpoints/*/*") for path in output.glob(pattern)]
    return sorted(path.relative_to(output).as_posix() for path in left)


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, compare, print; 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="how many (default %(default)s)")
    parser.add_argument("--folds", type=int, default=5, help="of the sweep (default %(default)s)")
    parser.add_argument("--steps", type=int, default=30, help="of pretraining and fine-tuning (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="loader processes (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("--settings", nargs="*", default=[], help="more settings of train.py")
    options = parser.parse_args(arguments)
    settings = [
        *("ssl=mae", "selection=activessf", f"fold={','.join(map(str, range(options.folds)))}", "recipe=quick"),
        *(f"recipe.pretraining.steps={options.steps}", f"recipe.finetuning.steps={options.steps}"),
        *("recipe.pretraining.warmup_steps=2", "recipe.finetuning.warmup_steps=2", "checkpoint_minutes=0"),
        *(f"num_workers={options.workers}", "logger=csv", *options.settings),
    ]
    with tempfile.TemporaryDirectory() as temporary:
        begun = time.monotonic()
        status, console = completed(settings, Path(temporary) / "undisturbed")
        if status != 0:
            print(console)
            return 1
        expected, seconds = results(Path(temporary) / "undisturbed"), time.monotonic() - begun
        print(f"undisturbed: {seconds:.0f} s, {len(expected)} files to compare")
        tally = kill_all(Sweep(settings, expected, seconds), Path(temporary), options.kills, options.seed)
    report(tally)
    return 1 if tally.findings else 0


def kill_all(sweep: Sweep, folder: Path, kills: int, seed: int) -> Tally:
    """Sweeps, each in a new folder, until there are so many kills."""
    tally, rng = Tally(), np.random.default_rng(seed)
    with tqdm(total=kills, desc="Kills", unit="kill") as bar:
        number = 0
        while tally.num_kills < kills and not tally.findings:
            sweep.run(folder / f"killed-{number}", min(_KILLS_A_SWEEP, kills - tally.num_kills), rng, tally)
            bar.update(tally.num_kills - bar.n)
            number += 1
    return tally


def report(tally: Tally) -> None:
    """Print the counts."""
    print(f"{tally.num_kills} kills, {tally.sweeps} sweeps that then ended\n\n| killed | {' | '.join(MOMENTS)} |")
    print(f"|---|{'---|' * len(MOMENTS)}")
    for way in sorted({way for way, _ in tally.kills}):
        print(f"| {way} | {' | '.join(str(tally.kills[way, kind]) for kind in MOMENTS)} |")
    print(f"\nfindings: {len(tally.findings)}")
    for finding in tally.findings:
        print(f"  {finding}")


if __name__ == "__main__":
    sys.exit(main())
