"""A five-fold sweep killed again and again: does the same command go on, and end with the same bytes?

    python experiments/kill_train.py --kills 50

`train.py ssl=mae selection=activessf fold=0..4 -m recipe=quick` on made-up slides, with few steps and a checkpoint
after each, is killed (SIGKILL): a third of the times at any moment, a third while a checkpoint is being written, a
third while a result is being published, of these the n-th, n drawn at random. What is killed is the whole group of
processes, the parent alone, or, at any moment, a child alone (a loader's worker). The same command is given again,
until it ends by itself; where a sweep ends before all kills are used up, another one is begun in an empty folder. Then
every predictions.csv, metrics.json and table of stages, and all weights, must equal, byte by byte, those of an
undisturbed sweep; no process may be left, nor anything unfinished below stages, runs and checkpoints. (What libraries
leave in the system's temporary folder is not looked at.) The exit status is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from kill_moments import MOMENTS, come
from killing import members, outliving, started
from tqdm import tqdm

REPOSITORY = Path(__file__).resolve().parents[1]
WAYS = {"any": ("group", "parent", "child"), "checkpoint": ("parent", "group"), "publishing": ("group", "parent")}
_RESULTS = ("runs/*/fold_*/*.csv", "runs/*/fold_*/metrics.json", "runs/*/fold_*/*.safetensors")
_STAGES = ("stages/*/*/*.csv", "stages/*/*/*.safetensors")
_KILLS_A_SWEEP = 25
_CONSOLE = "console.txt"
_SECONDS = 1800  # a sweep that takes longer waits for something that does not come


class Process(Protocol):
    """A sweep that was started, in a session of its own, whose number is that of the process."""

    @property
    def pid(self) -> int:
        """The number of the process."""

    def poll(self) -> int | None:
        """The exit status; None while it runs."""


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
        start: Gives the command, for an output folder.
        expected: `results` of an undisturbed sweep.
        seconds: What that took.
    """

    start: Callable[[Path], Process]
    expected: dict[str, bytes]
    seconds: float

    def run(self, output: Path, most_kills: int, rng: np.random.Generator, tally: Tally) -> None:
        """Give the command until it ends by itself, killed at most `most_kills` times; then look at what is there."""
        first = tally.num_kills
        while tally.num_kills - first < most_kills and self._killed(output, rng, tally) and not tally.findings:
            pass
        kills = tally.num_kills - first
        status = ended(self.start(output), _SECONDS)
        if status != 0:
            tally.findings.append(f"{output.name}: after {kills} kills the command ends with {status}: {said(output)}")
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
        """Start the sweep and kill it at a random moment; False if it has ended before."""
        moment = MOMENTS[tally.num_kills % len(MOMENTS)]
        way = WAYS[moment][tally.num_kills // len(MOMENTS) % len(WAYS[moment])]
        process = self.start(output)
        if not come(moment, output, process, way == "child", self.seconds, rng):
            return False
        tally.kills[way, moment] += 1
        kill(process.pid, way, rng)
        # Who has lost a worker ends by itself, after the other folds; a group is gone at once.
        status = ended(process, 3 * self.seconds + 60 if way == "child" else 60)
        if way == "child" and status not in (0, 1):
            tally.findings.append(
                f"{output.name}: when a child was killed the sweep ends with {status}: {said(output)}"
            )
        if orphans := outliving(process.pid, 20):
            tally.findings.append(f"{output.name}: processes outlive a kill of {way} ({moment}): {orphans}")
            os.killpg(process.pid, signal.SIGKILL)
        return True


def kill(session: int, way: str, rng: np.random.Generator) -> None:
    """Kill a `group` of processes, its `parent` or a `child`; the others go on, if they had been stopped."""
    if way == "group":
        os.killpg(session, signal.SIGKILL)
        return
    children = [pid for pid in members(session) if pid != session]
    chosen = session if way == "parent" or not children else int(rng.choice(children))
    with suppress(ProcessLookupError):  # a worker may have come to its end
        os.kill(chosen, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(session, signal.SIGCONT)


def ended(process: Process, seconds: float) -> int | None:
    """Exit status of a sweep that is left in peace; None, and it is killed, if it doesn't end in that time."""
    deadline = time.monotonic() + seconds
    while (status := process.poll()) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if status is None:
        os.killpg(process.pid, signal.SIGKILL)
    return status


def command(settings: Sequence[str], output: Path) -> Process:
    """Give the command that a user gives."""
    temporary = output / "temporary"
    temporary.mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, str(REPOSITORY / "train.py"), *settings, f"paths.output_dir={output}", "-m"]
    with (temporary / _CONSOLE).open("wb") as console:
        return started(arguments, temporary, console=console)


def said(output: Path) -> str:
    """The end of what the latest command has printed."""
    return (output / "temporary" / _CONSOLE).read_text(encoding="utf-8", errors="replace")[-600:]


def results(output: Path) -> dict[str, bytes]:
    """The files that must not differ, by path."""
    found = [path for pattern in (*_RESULTS, *_STAGES) for path in output.glob(pattern)]
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in found}


def unfinished(output: Path) -> list[str]:
    """Folders that were being filled, leases, temporary files, and checkpoints that nobody needs any more."""
    left = [path for pattern in ("stages/**/.*", "runs/**/.*", "checkpoints/**/*") for path in output.glob(pattern)]
    return sorted(path.relative_to(output).as_posix() for path in left)


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, compare, print; 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="how many (default %(default)s)")
    parser.add_argument("--folds", type=int, default=5, help="of the sweep (default %(default)s)")
    parser.add_argument("--steps", type=int, default=30, help="of pretraining and fine-tuning (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="loader processes (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("--output", type=Path, help="an empty folder to keep all outputs in (default: none are kept)")
    parser.add_argument("--settings", nargs="*", default=[], help="more settings of train.py")
    options = parser.parse_args(arguments)
    settings = [
        *("ssl=mae", "selection=activessf", f"fold={','.join(map(str, range(options.folds)))}", "recipe=quick"),
        *(f"recipe.pretraining.steps={options.steps}", f"recipe.finetuning.steps={options.steps}"),
        *("recipe.pretraining.warmup_steps=2", "recipe.finetuning.warmup_steps=2", "checkpoint_minutes=0"),
        *(f"num_workers={options.workers}", "logger=csv", *options.settings),
    ]
    with tempfile.TemporaryDirectory() if options.output is None else nullcontext(options.output) as folder:
        tally = chaos(lambda output: command(settings, output), Path(folder).absolute(), options.kills, options.seed)
    report(tally)
    return 1 if tally.findings else 0


def chaos(start: Callable[[Path], Process], folder: Path, kills: int, seed: int) -> Tally:
    """An undisturbed sweep, then killed ones, each in a new folder, until there are so many kills or a finding.

    Args:
        start: Gives the command, for an output folder.
        folder: Where the outputs are.
        kills: How many.
        seed: Of the moments.
    """
    tally, rng, begun = Tally(), np.random.default_rng(seed), time.monotonic()
    undisturbed = folder / "undisturbed"
    if status := ended(start(undisturbed), _SECONDS):
        tally.findings.append(f"undisturbed, the command ends with {status}: {said(undisturbed)}")
        return tally
    sweep = Sweep(start, results(undisturbed), time.monotonic() - begun)
    print(f"undisturbed: {sweep.seconds:.0f} s, {len(sweep.expected)} files to compare")
    number = 0
    with tqdm(total=kills, desc="Kills", unit="kill") as bar:
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
        print(f"| {way} | {' | '.join(str(tally.kills[way, moment]) for moment in MOMENTS)} |")
    print(f"\nfindings: {len(tally.findings)}")
    for finding in tally.findings:
        print(f"  {finding}")


if __name__ == "__main__":
    sys.exit(main())
