"""Stage 1 killed again and again: does it go on where it was, and end with the files of a run left in peace?

    python experiments/kill_preprocess.py --kills 120 --command-kills 6

Made-up slides are searched by a run that is killed (SIGKILL) at a moment drawn at random: while slides are searched,
while tables are written, or while the result is published. It is the whole group of processes that is killed, or the
parent alone, by turns. The same command is given until it ends by itself. Then every table and crop must equal, byte
by byte, those of an undisturbed run; no process, lock or unfinished folder may be left; and no more slides may have
been searched twice than workers were at work when they were killed. Most kills are of a light process, which counts
the searches; some are of `preprocess.py`, which takes seconds to start. The exit status is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from hydra import compose, initialize_config_dir
from killing import outliving, started
from numpy.typing import NDArray
from omegaconf import OmegaConf
from tqdm import tqdm

from activessf.artifacts import artifact, files_fingerprint
from activessf.data.source import images_below
from activessf.regions.boxes import Found
from activessf.regions.filtering import RegionFilter
from activessf.regions.stage import Search, find_regions
from activessf.regions.store import clear_leftovers
from activessf.regions.tiles import Tiling

REPOSITORY = Path(__file__).resolve().parents[1]
_SEARCHES = "KILL_PREPROCESS_SEARCHES"  # names the file in which searches are counted
_MIN_SIZE = 20
_KILLS_A_RUN = 12
_SECONDS = 180  # a run that takes longer waits for something that does not come
_DAMAGED = 2
# Folders that wandb and PyTorch make where they are imported; they are told, but not this code's.
_OF_LIBRARIES = re.compile(r".*wandb-(artifacts|media)|torchinductor_.*")


def write_slides(root: Path, number: int, seed: int) -> None:
    """Write that many fields with up to four cells each below `root/slides`, two damaged ones, and labeled cells."""
    rng = np.random.default_rng(seed)
    (root / "slides").mkdir(parents=True)
    for index in range(number):
        cv2.imwrite(str(root / "slides" / f"{index:04d}.png"), _field(rng, int(rng.integers(5))))
    whole = (root / "slides" / "0000.png").read_bytes()
    for index in range(_DAMAGED):
        (root / "slides" / f"damaged-{index}.png").write_bytes(whole[: len(whole) // (2 + index)])
    for name in ("pale", "purple"):
        (root / "cells" / name).mkdir(parents=True)
        cv2.imwrite(str(root / "cells" / name / "cell.png"), _field(rng, 1)[:64, :64])


def _field(rng: np.random.Generator, num_cells: int) -> NDArray[np.uint8]:
    pixels = np.full((240, 320, 3), (210, 205, 225), np.uint8)
    for _ in range(num_cells):
        centre = int(rng.integers(30, 290)), int(rng.integers(30, 210))
        cv2.circle(pixels, centre, int(rng.integers(12, 28)), (160, 40, 90), -1)
    noisy: NDArray[np.uint8] = np.clip(pixels + rng.integers(-4, 5, pixels.shape), 0, 255).astype(np.uint8)
    return noisy


# The light process: stage 1 as `Preparation.regions` has it, without the seconds that importing PyTorch takes


class CountingFilter(RegionFilter):
    """Notes each search in a file, so that searches are counted by other means than the stage's own."""

    def find(self, image: NDArray[np.uint8]) -> Found:
        """As `RegionFilter.find`."""
        with open(os.environ[_SEARCHES], "a") as file:
            file.write(".")
        return super().find(image)


def search_all(root: str, output: str, num_workers: int) -> None:
    """Stage 1 on `root/slides`, published below `output/stages/regions`."""
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base=None):
        settings = OmegaConf.to_container(compose("regions/paper").regions)
    assert isinstance(settings, dict)
    own = {str(key): value for key, value in settings.items() if not str(key).startswith("_")}
    base, stages = Path(root), Path(output) / "stages"
    slides = images_below(base, "slides")
    region_filter = CountingFilter(**{**own, "min_size": _MIN_SIZE})
    search = Search(base, region_filter, {}, Tiling(2048, 512), None, stages / "slides_searched", strict=False)

    def make(folder: Path) -> None:
        clear_leftovers(search.store)
        find_regions(search, slides, folder, num_workers)

    artifact(stages, "regions", "light", {"slides": files_fingerprint(base, slides)}, make).obtain()


def light_command(root: Path, output: Path, num_workers: int) -> list[str]:
    """A command that runs `search_all`."""
    code = "import sys; from kill_preprocess import search_all as run; run(*sys.argv[1:3], int(sys.argv[3]))"
    return [sys.executable, "-c", code, str(root), str(output), str(num_workers)]


def true_command(root: Path, output: Path, num_workers: int) -> list[str]:
    """The command that a user gives for the same."""
    settings = [f"data.root={root}", f"paths.output_dir={output}", f"num_workers={num_workers}"]
    script = str(REPOSITORY / "preprocess.py")
    return [sys.executable, script, "data=folder", "regions=paper", f"regions.min_size={_MIN_SIZE}", *settings]


# How far a run has come, as its files show


@dataclass(frozen=True)
class Progress:
    """What stands in a run's output folder.

    Attributes:
        stored: Slides in the store.
        crops: Crops in the folder that is being filled.
        phase: Of `starting`, `searching`, `writing tables`, `publishing`.
    """

    stored: int
    crops: int
    phase: str


def progress(output: Path, num_slides: int) -> Progress:
    """The progress of a run on `num_slides` readable slides."""
    regions = output / "stages" / "regions"
    stored = len(list((output / "stages" / "slides_searched").glob("*/*/[!.]*/slide.json")))
    crops = len(list(regions.glob(".*partial-*/crops/*")))
    if any(regions.glob("*/summary.json")):  # in the folder being filled, or in the published one
        return Progress(stored, crops, "publishing")
    if not any(regions.glob(".*partial-*")):
        return Progress(stored, crops, "starting")
    return Progress(stored, crops, "searching" if stored < num_slides else "writing tables")


def tables(output: Path) -> dict[str, bytes]:
    """The published files by path; not those that state the time it took or the command's settings."""
    (folder,) = (path.parent for path in (output / "stages" / "regions").glob("[!.]*/regions.csv"))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("summary.json", "inputs.json", "made.json")
    }


# Killing


@dataclass
class Tally:
    """What came of all runs.

    Attributes:
        kills: Number of kills by what was killed and in which phase.
        runs: Runs that ended by themselves after having been killed.
        repeated: Slides that were searched more than once.
        in_store: Unfinished folders in the store, which are cleared when they are a day old.
        semaphores: Named semaphores that the system kept.
        of_libraries: Temporary folders that imported libraries left.
        findings: What should not be.
    """

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    runs: int = 0
    repeated: int = 0
    in_store: int = 0
    semaphores: int = 0
    of_libraries: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def num_kills(self) -> int:
        """Kills so far."""
        return sum(self.kills.values())


@dataclass(frozen=True)
class Trial:
    """Runs that are killed, with the same slides and the same expected result.

    Attributes:
        command: The command on a folder of slides with an output folder and a number of workers.
        root: Folder of the slides.
        num_slides: Slides that can be read.
        expected: `tables` of an undisturbed run.
        num_workers: Processes of stage 1.
        counted: Whether the command counts its searches.
    """

    command: Callable[[Path, Path, int], list[str]]
    root: Path
    num_slides: int
    expected: dict[str, bytes]
    num_workers: int
    counted: bool

    def run(self, output: Path, most_kills: int, rng: np.random.Generator, tally: Tally) -> None:
        """Give the command until it ends by itself, killed at most `most_kills` times; then look at what is there."""
        output.mkdir()
        first = tally.num_kills
        while tally.num_kills - first < most_kills and self._killed(output, rng, tally):
            pass
        kills = tally.num_kills - first
        before = progress(output, self.num_slides)
        process = self._started(output)
        try:
            console = process.communicate(timeout=_SECONDS)[0].decode()
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            tally.findings.append(f"{output.name}: after {kills} kills the command does not end in {_SECONDS} s")
            return
        if process.returncode != 0:
            tally.findings.append(f"{output.name}: after {kills} kills the command ends so: {console[-300:]}")
            return
        tally.runs += 1
        if not self.counted and before.stored and "Reusing" not in console:
            known = re.search(r"(\d+) of \d+ slides had been worked through before", console)
            if known is None or int(known[1]) != before.stored:
                tally.findings.append(f"{output.name}: of {before.stored} slides in the store it used {known}")
        self._check(output, kills, tally)

    def _killed(self, output: Path, rng: np.random.Generator, tally: Tally) -> bool:
        """Start a run and kill it at a random moment; False if it had ended before."""
        due = self._moment(output, rng)
        process = self._started(output)
        while process.poll() is None and not due():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        if process.poll() is not None:
            process.communicate()
            return False
        semaphores = named_semaphores(process.pid)
        way = ("group", "parent alone")[tally.num_kills % 2]
        phase = progress(output, self.num_slides).phase
        (os.killpg if way == "group" else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        tally.kills[way, phase] += 1
        if orphans := outliving(process.pid, 10):
            tally.findings.append(f"{output.name}: processes outlive a kill of the {way} while {phase}: {orphans}")
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for semaphore in filter(Path.exists, semaphores):
            tally.semaphores += 1
            semaphore.unlink(missing_ok=True)
        return True

    def _started(self, output: Path) -> subprocess.Popen[bytes]:
        command = self.command(self.root, output, self.num_workers)
        return started(command, output / "temporary", counting(output))

    def _moment(self, output: Path, rng: np.random.Generator) -> Callable[[], bool]:
        kind = rng.integers(4)
        stored = progress(output, self.num_slides).stored
        if stored == 0 or (kind == 0 and stored < self.num_slides):
            wanted = int(rng.integers(stored, self.num_slides) + 1)
            return lambda: progress(output, self.num_slides).stored >= wanted
        if kind == 1:
            crops = int(rng.integers(len(self.expected)))
            return lambda: progress(output, self.num_slides).crops >= crops
        if kind == 2:
            return lambda: progress(output, self.num_slides).phase == "publishing"
        return lambda: progress(output, self.num_slides).phase != "starting"

    def _check(self, output: Path, kills: int, tally: Tally) -> None:
        found = tables(output)
        if found != self.expected:
            differing = sorted(
                name for name in found.keys() | self.expected.keys() if found.get(name) != self.expected.get(name)
            )
            tally.findings.append(f"{output.name}: after {kills} kills these files differ: {differing[:5]}")
        regions, store = output / "stages" / "regions", output / "stages" / "slides_searched"
        left = [path.name for path in regions.iterdir() if path.name.startswith(".")]
        temporary = [path.name for path in (output / "temporary").iterdir()]
        left += [name for name in temporary if not _OF_LIBRARIES.fullmatch(name)]
        tally.of_libraries += sum(bool(_OF_LIBRARIES.fullmatch(name)) for name in temporary)
        if left:
            tally.findings.append(f"{output.name}: after {kills} kills there is left {left}")
        self._check_store(store, output.name, tally)
        if self.counted:
            repeated = (output / "searches").stat().st_size - self.num_slides
            tally.repeated += repeated
            if not 0 <= repeated <= self.num_workers * kills:
                tally.findings.append(f"{output.name}: {repeated} slides were searched again after {kills} kills")

    def _check_store(self, store: Path, name: str, tally: Tally) -> None:
        unfinished = list(store.glob("*/*/.*"))
        tally.in_store += len(unfinished)
        for folder in unfinished:
            os.utime(folder, (0, 0))
        clear_leftovers(store)
        if any(store.glob("*/*/.*")):
            tally.findings.append(f"{name}: the store keeps unfinished folders that are more than a day old")


def named_semaphores(process: int) -> list[Path]:
    """Those that a process has mapped; by inode, since the maps show the name that a semaphore had when it was made."""
    try:
        maps = Path(f"/proc/{process}/maps").read_text()
    except OSError:
        return []
    inodes = {int(inode) for inode in re.findall(r"(\d+)\s+/dev/shm/sem\.", maps)}
    with os.scandir("/dev/shm") as entries:
        return [Path(entry) for entry in entries if entry.name.startswith("sem.") and entry.inode() in inodes]


def counting(output: Path) -> dict[str, str]:
    """What tells a command where to count its searches."""
    return {_SEARCHES: str(output / "searches")}


def undisturbed(root: Path, output: Path, num_workers: int) -> dict[str, bytes]:
    """`tables` of a run that nobody kills."""
    output.mkdir()
    process = started(light_command(root, output, num_workers), output / "temporary", counting(output))
    console = process.communicate(timeout=_SECONDS)[0].decode()
    assert process.returncode == 0, console
    return tables(output)


def report(title: str, tally: Tally) -> None:
    """Print the counts."""
    phases = ("starting", "searching", "writing tables", "publishing")
    print(f"\n{title}: {tally.num_kills} kills, {tally.runs} runs that then ended\n")
    print(f"| killed while | {' | '.join(phases)} |\n|---|{'---|' * len(phases)}")
    for way in ("group", "parent alone"):
        print(f"| {way} | {' | '.join(str(tally.kills[way, phase]) for phase in phases)} |")
    print(f"\nslides searched again: {tally.repeated}; unfinished folders in the store: {tally.in_store}")
    print(f"left in the system: {tally.semaphores} semaphores, {tally.of_libraries} temporary folders of libraries")
    print(f"findings: {len(tally.findings)}")
    for finding in tally.findings:
        print(f"  {finding}")


def kill_all(trial: Trial, folder: Path, kills: int, seed: int) -> Tally:
    """Trials, each with a new output folder, until there are so many kills."""
    tally = Tally()
    rng = np.random.default_rng(seed)
    name = "light" if trial.counted else "command"
    with tqdm(total=kills, desc=name, unit="kill", disable=None) as bar:
        number = 0
        while tally.num_kills < kills and not tally.findings:
            trial.run(folder / f"{name}-{number}", min(_KILLS_A_RUN, kills - tally.num_kills), rng, tally)
            bar.update(tally.num_kills - bar.n)
            number += 1
    return tally


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, compare, print; 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=120, help="of the light process (default %(default)s)")
    parser.add_argument("--command-kills", type=int, default=6, help="of preprocess.py (default %(default)s)")
    parser.add_argument("--slides", type=int, default=60, help="fields of 320x240 (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes of stage 1 (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the slides and the moments (default 0)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root = folder / "data"
        write_slides(root, options.slides, options.seed)
        expected = undisturbed(root, folder / "undisturbed", options.workers)
        print(f"{options.slides} slides, {_DAMAGED} more that are damaged, {len(expected) - 4} crops")
        findings = 0
        for title, command, kills in (
            ("light process", light_command, options.kills),
            ("preprocess.py", true_command, options.command_kills),
        ):
            counted = command is light_command
            trial = Trial(command, root, options.slides, expected, options.workers, counted)
            tally = kill_all(trial, folder, kills, options.seed)
            report(title, tally)
            findings += len(tally.findings)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
