"""How long the selections of stage 2 take, and how much memory, on made-up features.

    python experiments/benchmarks/selection.py --candidates 10000,100000,1000000 --dimensions 2048

Candidates are drawn in chunks from a long-tailed mixture of twelve normal distributions and written as float32 into a
temporary folder, which is removed afterwards; 2,000 of the same kind are labeled. Every selection runs in a process of
its own on the memory-mapped file, `activessf` with quantile bounds, the others with a budget of one candidate in a
hundred. Seconds are those of `select`, the reading of the file included. Memory is the growth of the process's own
pages (RssAnon, looked at every few milliseconds) from before `select` to the peak; pages of the mapped file, which the
kernel takes back when it needs them, are not counted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from tqdm import tqdm

from activessf.configuration import build, without
from activessf.selection.strategy import Strategy

CONF = Path(__file__).resolve().parents[2] / "conf"
_CLASSES = [f"class_{number:02d}" for number in range(12)]
_LABELED = 2000
_CHUNK = 4096
_SELECTIONS = (
    "activessf", "random", "nearest", "global_threshold", "class_balanced", "activessf_plus", "cluster_balanced",
    "typiclust", "kcenter",
)  # fmt: skip


def mixture(number: int, dimensions: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features and the component of each; the k-th has a share of 1 / k, before all are scaled to 1."""
    weights = 1 / np.arange(1, len(_CLASSES) + 1)
    owners = rng.choice(len(_CLASSES), number, p=weights / weights.sum())
    centres = np.random.default_rng(0).normal(size=(len(_CLASSES), dimensions)).astype(np.float32)
    scales = np.geomspace(1, 0.05, dimensions, dtype=np.float32)
    return centres[owners] * scales + rng.standard_normal((number, dimensions), np.float32) * scales, owners


def write_candidates(path: Path, number: int, dimensions: int) -> None:
    """An .npy file of that many rows, a chunk at a time."""
    rng = np.random.default_rng(1)
    file = np.lib.format.open_memmap(path, "w+", np.float32, (number, dimensions))
    for start in tqdm(range(0, number, _CHUNK), desc="drawing", unit="chunk", disable=None):
        file[start : start + _CHUNK] = mixture(min(_CHUNK, number - start), dimensions, rng)[0]
    file.flush()


def strategy(name: str, budget: int) -> Strategy:
    """A selection as configured, but for bounds and budget."""
    with initialize_config_dir(str(CONF), version_base=None):
        changes = ["selection.bounds=quantile"] if name == "activessf" else [f"selection.budget={budget}"]
        selection = compose("config", [f"selection={name}", *changes]).selection
    made: Strategy = build(without(selection, "name", "pool", "scope", "features"))
    return made


def measure(name: str, path: Path) -> tuple[float, float, int]:
    """Seconds, GiB and the number kept."""
    candidates = np.load(path, mmap_mode="r")
    labeled, owners = mixture(_LABELED, candidates.shape[1], np.random.default_rng(2))
    labels = np.array(_CLASSES)[owners]
    chosen = strategy(name, len(candidates) // 100)
    before, peak, done = own_memory(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    try:
        kept = int(chosen.select(labeled, labels, _CLASSES, candidates, 0).kept.sum())
    finally:
        done.set()
        watcher.join()
    return time.perf_counter() - started, peak[0] - before, kept


def own_memory() -> float:
    """Pages of this process that are no file's, GiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon"))
    return int(line.split()[1]) / 2**20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", default="10000,100000,1000000", help="numbers of candidates")
    parser.add_argument("--dimensions", type=int, default=2048, help="of a feature (default 2048)")
    parser.add_argument("--selections", default=",".join(_SELECTIONS), help="which (default all)")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made; needs 8 KB a candidate")
    options = parser.parse_args()
    os.environ.setdefault("ACTIVESSF_ROOT", str(CONF.parent))
    os.environ.setdefault("ACTIVESSF_PROCESS", str(os.getpid()))
    print("| candidates | selection | seconds | GiB | kept |\n|---|---|---|---|---|")
    for number in map(int, options.candidates.split(",")):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / "features.npy"
            write_candidates(path, number, options.dimensions)
            for name in options.selections.split(","):
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    seconds, memory, kept = pool.submit(measure, name, path).result()
                print(f"| {number:,} | {name} | {seconds:.1f} | {memory:.2f} | {kept:,} |", flush=True)


if __name__ == "__main__":
    main()
