"""How fast views are made, against the usual chain of PIL and torchvision, on one core.

    python experiments/benchmarks/loader.py --images ../shared/data/bccd/JPEGImages
    python experiments/benchmarks/loader.py --images outputs/stages/regions/NAME/crops

Both decode a file, take a random resized crop of 224 pixels (a fifth of the area at least), mirror half of them and
normalise. The usual chain is torchvision.transforms on PIL images: RandomResizedCrop (bicubic), RandomHorizontalFlip,
ToTensor, Normalize. They take turns over the same files; what is printed are medians of the turns and their ratio. Ours
keeps decoded images in memory where they fit (`cache_gib`), as training does from the second epoch on: that has a row
of its own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from activessf.data.augmentations import RandomView
from activessf.data.datasets import IMAGENET_MEAN, IMAGENET_STD, ImageFiles

SIZE, SCALE = 224, (0.2, 1.0)
_SUFFIXES = (".jpg", ".jpeg", ".png")


def usual_chain() -> Callable[[Path], Tensor]:
    """Decode by PIL, then torchvision's transforms."""
    chain = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE, SCALE, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )

    def view(path: Path) -> Tensor:
        with Image.open(path) as image:
            made: Tensor = chain(image.convert("RGB"))
        return made

    return view


def turns(paths: list[Path], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way over all files, round by round."""
    usual = usual_chain()
    fresh = ImageFiles(paths, None, RandomView(SIZE, SCALE), 0)
    cached = ImageFiles(paths, None, RandomView(SIZE, SCALE), 0, cache_bytes=2**33)
    for index in range(len(paths)):
        _ = cached[0, index]
    ways: dict[str, Callable[[int], Iterator[Tensor]]] = {
        "PIL and torchvision": lambda epoch: (usual(path) for path in paths),
        "ours": lambda epoch: (fresh[epoch, index][0] for index in range(len(paths))),
        "ours, decoded before": lambda epoch: (cached[epoch, index][0] for index in range(len(paths))),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for epoch in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            for view in way(epoch):
                assert view.shape == (3, SIZE, SIZE)
            seconds[name].append(time.perf_counter() - started)
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEG or PNG files, searched through")
    parser.add_argument("--count", type=int, default=200, help="files (default 200)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each way (default 7)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = sorted(path for path in options.images.rglob("*") if path.suffix.lower() in _SUFFIXES)[: options.count]
    if not paths:
        parser.error(f"{options.images} holds no JPEG or PNG file")
    seconds = turns(paths, options.rounds)
    usual = median(seconds["PIL and torchvision"])
    print("| | median ms an image | times as fast |\n|---|---|---|")
    for name, times in seconds.items():
        print(f"| {name} | {1000 * median(times) / len(paths):.2f} | {usual / median(times):.2f} |")


if __name__ == "__main__":
    main()
