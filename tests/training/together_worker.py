"""What each of two processes does in test_together: whole trainings, stopped ones, predictions, a loss that is none."""

import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import Trainer
from test_resuming import BATCH, OPTIMIZATION, STEPS, VIT, StopAfter, Stopped, classifier, masked

from activessf.data.augmentations import RandomView
from activessf.data.datasets import ImageFiles
from activessf.errors import InputError
from activessf.launching.meeting import meeting
from activessf.launching.ranks import own_rank
from activessf.launching.trainers import with_ranks
from activessf.methods.batch_norm import normalise_together
from activessf.methods.decoder import PixelDecoder
from activessf.methods.distributed import process_rank
from activessf.methods.mae import MAE
from activessf.training.losses import WeightedCrossEntropy
from activessf.training.resuming import Checkpoints
from activessf.training.running import Runner

WEIGHTS = np.arange(1.0, 11.0)  # in which the images are drawn
STOPS = (4, 7)  # the end of an epoch and the middle of one


class WrongInTheSecond(MAE):
    """Its loss is no number in process 1, from the third step on."""

    def forward(self, views, progress=0.0, noise=None):
        wrong = process_rank() == 1 and progress >= 2 / STEPS
        return super().forward(views, progress, noise) * (float("nan") if wrong else 1.0)


def diverging():
    method = WrongInTheSecond(VIT, partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2), 0.75, False)
    method.optimization = OPTIMIZATION
    return method


def calm():
    """A classifier that draws nothing, so that its training does not depend on the number of processes."""
    module = classifier()
    for part in module.modules():
        if hasattr(part, "drop_prob"):
            part.drop_prob = 0.0
    return module


def unequal():
    """The same with a loss that weighs its cells, of which a process may have the heavier half."""
    module = calm()
    module.loss = WeightedCrossEntropy([40, 8, 1], 1.0, None, 0.1)
    return module


def runner(folder: Path, **trainer) -> Runner:
    make = with_ranks(
        partial(
            Trainer, accelerator="cpu", enable_model_summary=False, log_every_n_steps=1, deterministic="warn", **trainer
        )
    )
    return Runner(make, list, 0, 0, 0, folder / "failed", 0.0)


def train(make, images: ImageFiles, folder: Path, stop: int | None = None, **trainer):
    torch.manual_seed(0)
    module = make()
    if own_rank().count > 1:
        normalise_together(module)
    folder.mkdir(parents=True, exist_ok=True)
    stopping = [] if stop is None else [StopAfter(stop, at_once=False)]
    checkpoints = Checkpoints(folder.parent / f"checkpoints_{folder.name.partition('.')[0]}")
    runner(folder, **trainer).fit(module, images, BATCH, STEPS, folder, "Training", checkpoints, stopping)
    return module


def images_of(folder: Path) -> ImageFiles:
    paths = sorted(folder.glob("*.png"))
    return ImageFiles(paths, [number % 3 for number in range(len(paths))], RandomView(32, (0.3, 1.0)), seed=5)


def work(folder: Path) -> None:
    images, rank = images_of(folder / "images"), own_rank().index
    own, found = folder / f"rank_{rank}", {}
    for make in (masked, calm, classifier):
        found[make.__name__] = train(make, images, own / make.__name__).state_dict()
    found["unequal"] = train(unequal, images.weighted(WEIGHTS), own / "unequal").state_dict()
    found["accumulated"] = train(calm, images, own / "accumulated", accumulate_grad_batches=2).state_dict()
    # Checkpoints are in one place for all.
    for make in (masked, classifier):
        name = f"{make.__name__}_stopped"
        for attempt, stop in enumerate(STOPS):
            with suppress(Stopped):
                train(make, images, folder / f"shared_{make.__name__}.{rank}.{attempt}", stop)
        found[name] = train(make, images, folder / f"shared_{make.__name__}.{rank}.end").state_dict()
    torch.manual_seed(1)
    module = calm()
    found["probabilities"] = {"": runner(own).predict(module, images.subset(range(9)), 2)}
    try:
        train(diverging, images, folder / f"wrong.{rank}")
    except InputError as error:
        (own / "error.txt").write_text(str(error))
    torch.save(found, folder / f"found_{rank}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with meeting():
        work(Path(sys.argv[1]))
