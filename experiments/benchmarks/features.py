"""How fast features are against a plain loop, and what memory a million of them take.

    python experiments/benchmarks/features.py speed --crops outputs/stages/cells/NAME/crops --size 224
    python experiments/benchmarks/features.py memory --counts 10000 100000 1000000 --folder /tmp

`speed`: the same crops through a plain loop over a timm network (eager, fp32, NCHW, explicit attention, the same
decoding and resizing) and through `FeatureExtractor`, in turns, so that both meet the machine's other work; the ratio
is of the medians. resnet50 and vit_base_patch16_224 (the encoder of MAE, MixedAE and MoCo v3) have random weights,
which don't matter to speed but do to the cosine with fp32, so that one with real weights may fall back to fp32;
tf_efficientnet_lite0 has its real ones. `memory`: synthetic features of 2048 dimensions are
kept, assembled, cut to nine in ten and whitened, each number in a process of its own.
"""

from __future__ import annotations

import argparse
import copy
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor

from activessf.data.augmentations import WholeView
from activessf.data.datasets import ImageFiles, evaluation_loader
from activessf.selection.feature_store import FeatureStore, chosen_rows, write_features
from activessf.selection.inference import compute, resolved_precision
from activessf.selection.networks import Loaded, TimmNetwork
from activessf.selection.whitening import Transform
from activessf.training.attention import attend_explicitly

CPU = torch.device("cpu")
DIMENSIONS = 2048
BATCH_SIZE = 64
NETWORKS = ("resnet50", "vit_base_patch16_224", "tf_efficientnet_lite0")
WITH_WEIGHTS = ("tf_efficientnet_lite0",)


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    speed = commands.add_parser("speed", help="crops a second, against a plain loop")
    speed.add_argument("--crops", type=Path, required=True, help="folder of PNG crops, searched through")
    speed.add_argument("--size", type=int, default=224, help="side of the views, pixels (default 224)")
    speed.add_argument("--count", type=int, default=64, help="crops a turn (default 64)")
    speed.add_argument("--turns", type=int, default=5, help="how often each (default 5)")
    speed.add_argument("--networks", default=",".join(NETWORKS), help="which (default all)")
    memory = commands.add_parser("memory", help="time, memory and disk by the number of features")
    memory.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000], help="how many features")
    memory.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="has 25 GB for a million")
    options = parser.parse_args()
    if options.command == "speed":
        paths = sorted(options.crops.rglob("*.png"))[: options.count]
        report_speed(options.networks.split(","), paths, options.size, options.turns)
    else:
        report_memory(options.counts, options.folder)


def report_speed(names: Sequence[str], paths: Sequence[Path], size: int, turns: int) -> None:
    """Time both ways in turns, file to feature."""
    print(f"{len(paths)} crops at {size} px, {torch.get_num_threads()} thread(s)\n")
    print(
        "| network | computed in | plain, crops/s | ours, crops/s | ratio | network alone | least cosine with plain |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in names:
        for precision in ("fp32", "auto"):
            report_network(name, loaded(name), precision, paths, size, turns)


def loaded(name: str) -> Loaded:
    """A network with its real weights, if a package has them, or with random ones."""
    if name in WITH_WEIGHTS:
        return TimmNetwork(name, None, True).load()
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0).eval()
    config = timm.data.resolve_model_data_config(network)
    return Loaded(network, config["mean"], config["std"])


def report_network(name: str, given: Loaded, setting: str, paths: Sequence[Path], size: int, turns: int) -> None:
    """One row of the table."""
    images = ImageFiles(paths, None, WholeView(size), 0, given.mean, given.std)
    first = next(iter(evaluation_loader(images, BATCH_SIZE, 0)))[0]
    explicit = copy.deepcopy(given.network)
    attend_explicitly(explicit)
    plain = plain_loop(explicit)
    precision = resolved_precision(setting, CPU)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        ours = compute(copy.deepcopy(given.network), precision, CPU, first)  # a copy: it changes the layout
    said = f"{setting} = {'fp32, as ' + precision + ' fails the check' if caught else precision}"
    ways = {"plain": plain, "ours": ours}
    results = {way: features(ways[way], images) for way in ways}  # which also warms up
    seconds: dict[str, list[float]] = {key: [] for key in ("plain", "ours", "plain alone", "ours alone")}
    for _ in range(turns):
        for way, function in ways.items():
            seconds[way].append(timed(lambda function=function: features(function, images)))  # type: ignore[misc]
            seconds[f"{way} alone"].append(timed(lambda function=function: function(first)))  # type: ignore[misc]
    took = {key: float(np.median(values)) for key, values in seconds.items()}
    cosine = torch.cosine_similarity(results["plain"].double(), results["ours"].double()).min()
    title = name if name in WITH_WEIGHTS else f"{name}, random weights"
    print(
        f"| {title} | {said} | {len(paths) / took['plain']:.1f} | {len(paths) / took['ours']:.1f} "
        f"| {took['plain'] / took['ours']:.2f} | {took['plain alone'] / took['ours alone']:.2f} | {cosine:.5f} |",
        flush=True,
    )


def plain_loop(network: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    """What one would write first."""

    @torch.inference_mode()
    def computed(images: Tensor) -> Tensor:
        result: Tensor = network(images)
        return result

    return computed


def features(function: Callable[[Tensor], Tensor], images: ImageFiles) -> Tensor:
    """Features of all images, file to feature."""
    return torch.cat([function(batch) for batch, _ in evaluation_loader(images, BATCH_SIZE, 0)])


def timed(function: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def report_memory(counts: Sequence[int], folder: Path) -> None:
    """One row a number of features."""
    print("| features | keep, s | assemble, s | nine in ten, s | whitened too, s | peak memory, MiB | of imports |")
    print("|---|---|---|---|---|---|---|")
    for count in counts:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            print(pool.submit(measured, count, folder).result(), flush=True)


def measured(count: int, folder: Path) -> str:
    """Keep, assemble and cut `count` synthetic features."""
    before = peak_mebibytes()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root = Path(scratch)
        store = FeatureStore(root / "store")
        names = [Path(str(number)) for number in range(count)]
        keys = [number.to_bytes(32, "little") for number in range(count)]
        assembled = root / "features.npy"
        rows = np.flatnonzero(np.arange(count) % 10 != 0)
        took = [
            timed(lambda: store.complete(names, keys, synthetic)),
            timed(lambda: write_features(store.blocks(keys), count, assembled)),
            *(timed(lambda kind=kind: cut(assembled, rows, kind, root)) for kind in ("none", "pca_whitening")),  # type: ignore[misc]
        ]
        peak = peak_mebibytes()
    return f"| {count:,} | {' | '.join(f'{value:.1f}' for value in took)} | {peak:.0f} | {before:.0f} |"


def cut(assembled: Path, rows: NDArray[np.intp], kind: str, folder: Path) -> None:
    """What preparation does for one fold."""
    labeled = np.concatenate(list(chosen_rows(assembled, rows[:500])))
    transform = Transform(kind, 128, 0.01).fit(
        labeled, lambda some: np.concatenate(list(chosen_rows(assembled, some))), rows, 0
    )
    write_features(map(transform, chosen_rows(assembled, rows)), len(rows), folder / "selected.npy")


def synthetic(paths: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
    """Random features, a batch at a time."""
    rng = np.random.default_rng(0)
    for start in range(0, len(paths), BATCH_SIZE):
        yield rng.random((min(BATCH_SIZE, len(paths) - start), DIMENSIONS), np.float32)


def peak_mebibytes() -> float:
    """The most memory that this process has held, mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
