"""What helps where there are few images: MAE on sixteen made-up cells.

    OMP_NUM_THREADS=1 python experiments/small_sets.py --seeds 5

Cells are drawn at 32 pixels, a network of width 48 is trained on 16 of them, and the mean squared error of the hidden
patches of 28 others tells what it has learned: three quarters are hidden there, whatever training hid, by the same
masks for all. The part of published weights is played by the same network, trained for 300 steps on 45 other cells.
Every row differs from the first in one thing. Mean and sample standard deviation over seeds, each with its own cells.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pandas as pd
import timm
import torch
from torch import Tensor
from tqdm import tqdm

from activessf.data.augmentations import resize
from activessf.data.demo import write_demo
from activessf.data.images import crop, read_image
from activessf.methods.decoder import PixelDecoder
from activessf.methods.mae import MAE
from activessf.training.optimization import parameter_groups

_OTHERS, _FEW, _UNSEEN = slice(45), slice(45, 61), slice(61, 89)
_SIZE, _PATCHES = 32, 16
_PUBLISHED_STEPS = 300


@dataclass(frozen=True)
class Advice:
    """One thing that is done otherwise.

    Attributes:
        name: What a user would write or do.
        starts_from: Which published weights it starts from: none, encoder, or all.
        times_as_many: Factor on the number of steps.
        mask_ratio: Share of patches that training hides.
        depth: Blocks of the decoder.
        lr: Learning rate.
    """

    name: str
    starts_from: str = "none"
    times_as_many: int = 1
    mask_ratio: float = 0.75
    depth: int = 1
    lr: float = 2e-3


ADVICES = (
    Advice("from scratch"),
    Advice("`ssl.init`", starts_from="all"),
    Advice("`backbone.checkpoint`", starts_from="encoder"),
    Advice("four times as many steps", times_as_many=4),
    Advice("ten times as many steps", times_as_many=10),
    Advice("half of the patches hidden", mask_ratio=0.5),
    Advice("half of the patches hidden, ten times as many steps", mask_ratio=0.5, times_as_many=10),
    Advice("decoder of depth 4, not 1", depth=4),
    Advice("decoder of depth 4, ten times as many steps", depth=4, times_as_many=10),
    Advice("a quarter of the learning rate", lr=5e-4),
)


def drawn_cells(folder: Path, seed: int) -> Tensor:
    """Labeled cells of made-up slides, float of about [-2, 2], (89, 3, 32, 32), in random order."""
    write_demo(folder, num_labeled_slides=20, num_unlabeled_slides=1, slides_per_patient=1, seed=seed, progress=False)
    boxes = pd.read_csv(folder / "cells.csv").sample(n=_UNSEEN.stop, random_state=seed).itertuples()
    crops = [resize(crop(read_image(folder / b.image), b.x, b.y, b.width, b.height), _SIZE) for b in boxes]
    return (torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() - 128) / 64


def autoencoder(mask_ratio: float, depth: int, seed: int) -> MAE:
    """The network, freshly drawn."""
    torch.manual_seed(seed)
    backbone = partial(
        timm.create_model, "vit_tiny_patch16_224", img_size=_SIZE, patch_size=8, embed_dim=48, depth=3, num_heads=3
    )
    decoder = partial(PixelDecoder, embed_dim=32, depth=depth, num_heads=2)
    return MAE(backbone, decoder, mask_ratio, norm_pix_loss=False)


def pretrain(method: MAE, images: Tensor, steps: int, lr: float, seed: int) -> MAE:
    """Train for so many steps of 16 images drawn at random."""
    torch.manual_seed(seed)
    others = [(name, value) for name, value in method.named_parameters() if not name.startswith("encoder.")]
    optimizer = torch.optim.AdamW(parameter_groups(method.encoder, others, lr, 0.05, 1.0))
    for _ in range(steps):
        loss = method(images[torch.randint(len(images), (16,))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return method


@torch.no_grad()
def error(method: MAE, unseen: Tensor) -> float:
    """Mean squared error of hidden patches, under four masks a cell."""
    judge = autoencoder(0.75, len(method.decoder.blocks), 0)
    judge.load_state_dict(method.state_dict())
    images = unseen.repeat(4, 1, 1, 1)
    noise = torch.rand(len(images), _PATCHES, generator=torch.Generator().manual_seed(3))
    return float(judge(images, 0.0, noise))


def followed(advice: Advice, published: MAE, few: Tensor, steps: int, seed: int) -> MAE:
    """The network that comes of an advice."""
    method = autoencoder(advice.mask_ratio, advice.depth, seed)
    if advice.starts_from == "all":
        method.load_state_dict(published.state_dict())
    elif advice.starts_from == "encoder":
        method.encoder.load_state_dict(published.encoder.state_dict())
    return pretrain(method, few, advice.times_as_many * steps, advice.lr, seed + 1000)


def measured(seed: int, steps: Sequence[int], advance: Callable[[], object]) -> dict[tuple[str, int], float]:
    """Errors of all advices with the cells of a seed, by name and number of steps."""
    with tempfile.TemporaryDirectory() as folder:
        cells = drawn_cells(Path(folder), seed)
    published = pretrain(autoencoder(0.75, 1, seed + 2000), cells[_OTHERS], _PUBLISHED_STEPS, 2e-3, seed)
    found = {}
    for advice in ADVICES:
        for number in steps:
            found[advice.name, number] = error(followed(advice, published, cells[_FEW], number, seed), cells[_UNSEEN])
            advance()
    for name, method in (("untrained", autoencoder(0.75, 1, seed)), ("published weights as they are", published)):
        found |= {(name, number): error(method, cells[_UNSEEN]) for number in steps}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many (default %(default)s, two at least)")
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 40], help="of a row (default 20 40)")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error(f"--seeds={options.seeds}: a standard deviation needs two at least")
    with tqdm(total=options.seeds * len(ADVICES) * len(options.steps), desc="Trainings", disable=None) as bar:
        found = [measured(seed, options.steps, bar.update) for seed in range(options.seeds)]
    print(table(found, options.steps))


def table(found: Sequence[Mapping[tuple[str, int], float]], steps: Sequence[int]) -> str:
    """Means and deviations over seeds, as Markdown."""
    lines = ["| | " + " | ".join(f"{number} steps" for number in steps) + " |", "|---" * (len(steps) + 1) + "|"]
    for name in ("untrained", *(advice.name for advice in ADVICES), "published weights as they are"):
        values = [[errors[name, number] for errors in found] for number in steps]
        lines.append(f"| {name} | " + " | ".join(f"{mean(v):.3f} ± {stdev(v):.3f}" for v in values) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
