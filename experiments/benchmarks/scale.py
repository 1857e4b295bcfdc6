"""Stage 1 on thousands of fields: does time grow in step with their number, and memory not at all?

    python experiments/benchmarks/scale.py --fields 2500,5000,10000 --workers 2

Fields of 640x480 are drawn, no two alike, and written as JPEG into a temporary folder, which is removed afterwards.
For each number stage 1 runs in a process of its own with an empty store; the same command again finds everything
there, and with a hundred new fields it has only those to search. Seconds are those of the stage, fingerprints of the
files included, without the start of Python and the drawing. Memory is the peak of the parent and of its largest worker
(VmHWM, which counts shared pages for each), and of all processes together (PSS, which counts them once), looked at
several times a second.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from numpy.typing import NDArray
from tqdm import tqdm

from activessf.artifacts import artifact, files_fingerprint
from activessf.data.source import images_below
from activessf.manifests import read_json
from activessf.regions.stage import Search, find_regions
from activessf.regions.tiles import Tiling

REPOSITORY = Path(__file__).resolve().parents[2]
_HEIGHT, _WIDTH = 480, 640
_DRAWINGS = 50
_NEW = 100
_LOOK = 0.2  # seconds


def draw_fields(folder: Path, first: int, number: int) -> None:
    """Write the fields `first` to `first + number - 1`: one of some drawings each, with noise of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings = [_drawing(np.random.default_rng(index)) for index in range(_DRAWINGS)]
    noise = np.random.default_rng(0).integers(0, 9, (2 * _HEIGHT, 2 * _WIDTH, 3), np.uint8)
    for index in tqdm(range(first, first + number), desc="drawing", unit="field", disable=None):
        # Another window of the noise for each: far quicker than noise that is drawn anew.
        y, x = divmod(index * 7919 % (_HEIGHT * _WIDTH), _WIDTH)
        field = cv2.add(drawings[index % _DRAWINGS], noise[y : y + _HEIGHT, x : x + _WIDTH])
        cv2.imwrite(str(folder / f"{index:06d}.jpg"), field, [cv2.IMWRITE_JPEG_QUALITY, 90])


def _drawing(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A pale field with up to five purple cells and many red ones, BGR."""
    field = np.full((_HEIGHT, _WIDTH, 3), (205, 200, 220), np.uint8)
    for colour, low, high, number in (((150, 140, 215), 18, 30, 40), ((150, 50, 100), 38, 55, int(rng.integers(6)))):
        for _ in range(number):
            centre = int(rng.integers(_WIDTH)), int(rng.integers(_HEIGHT))
            axes = int(rng.integers(low, high)), int(rng.integers(low, high))
            cv2.ellipse(field, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
    return field


def search_fields(root: str, output: str, num_workers: int) -> None:
    """Stage 1 with the paper's settings on all fields; prints its seconds and the number of regions."""
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base=None):
        region_filter = instantiate(compose("regions/paper").regions)
    started = time.perf_counter()
    fields = images_below(Path(root), "slides")
    search = Search(Path(root), region_filter, {}, Tiling(2048, 512), None, Path(output) / "store", strict=True)

    def make(folder: Path) -> None:
        find_regions(search, fields, folder, num_workers)

    inputs = {"slides": files_fingerprint(Path(root), fields)}
    folder = artifact(Path(output), "regions", "fields", inputs, make).obtain()
    print(time.perf_counter() - started, read_json(folder / "summary.json")["regions"])


@dataclass(frozen=True)
class Measured:
    """A run of stage 1; memory in MB.

    Attributes:
        seconds: Of the stage.
        regions: How many it found.
        parent: Peak of the parent.
        worker: Peak of its largest worker; 0 if it had none.
        together: Peak of all processes, shared pages counted once.
    """

    seconds: float
    regions: int
    parent: float
    worker: float
    together: float


def measured(root: Path, output: Path, num_workers: int) -> Measured:
    """Run stage 1 in a process of its own."""
    code = "import sys; from scale import search_fields as run; run(*sys.argv[1:3], int(sys.argv[3]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(root), str(output), str(num_workers)],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    parent = worker = together = 0.0
    while process.poll() is None:
        children = _children(process.pid)
        parent = max(parent, _megabytes(process.pid, "status", "VmHWM"))
        worker = max([worker, *(_megabytes(child, "status", "VmHWM") for child in children)])
        together = max(together, sum(_megabytes(pid, "smaps_rollup", "Pss") for pid in (process.pid, *children)))
        time.sleep(_LOOK)
    printed = process.communicate()[0].split()
    if process.returncode != 0:
        raise SystemExit(f"Stage 1 ended with status {process.returncode}.")
    return Measured(float(printed[0]), int(printed[1]), parent, worker, together)


def _children(process: int) -> list[int]:
    try:
        listed = (Path(f"/proc/{process}/task/{process}") / "children").read_text()
    except OSError:
        return []
    return [int(child) for child in listed.split()]


def _megabytes(process: int, file: str, key: str) -> float:
    try:
        lines = Path(f"/proc/{process}/{file}").read_text().splitlines()
    except OSError:  # it has just ended
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:")), 0.0)


def measure_all(counts: Sequence[int], num_workers: int, folder: Path) -> None:
    """Draw, run and print a row for each number of fields; they are drawn as they are needed."""
    print("| fields | regions | seconds | fields/s | time against the row above | peak MB: parent | worker | ", end="")
    print(f"together | again, s | {_NEW} new, s |\n|{'---|' * 10}")
    before: tuple[int, float] | None = None
    for count in counts:
        root, output = folder / f"fields-{count}", folder / f"output-{count}"
        draw_fields(root / "slides", 0, count)
        run = measured(root, output, num_workers)
        again = measured(root, output, num_workers)
        draw_fields(root / "slides", count, _NEW)
        new = measured(root, output, num_workers)
        ratio = f"{run.seconds / before[1]:.2f} for {count / before[0]:.2f} times the fields" if before else ""
        before = count, run.seconds
        memory = f"{run.parent:.0f} | {run.worker:.0f} | {run.together:.0f}"
        print(
            f"| {count} | {run.regions} | {run.seconds:.1f} | {count / run.seconds:.1f} | {ratio} | {memory} ", end=""
        )
        print(f"| {again.seconds:.2f} | {new.seconds:.1f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--fields", default="2500,5000,10000", metavar="N,N,...", help="numbers of fields (default %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes of stage 1 (default %(default)s)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the fields are written (default: temporary)")
    options = parser.parse_args()
    counts = [int(count) for count in options.fields.split(",")]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure_all(counts, options.workers, Path(folder))


if __name__ == "__main__":
    main()
