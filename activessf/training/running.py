"""Run a Trainer over one stage: how long, on what, with which curves."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger, Logger
from torch import Tensor
from tqdm import tqdm

from activessf.data.datasets import ImageFiles, View, batch_share, evaluation_loader
from activessf.errors import InputError
from activessf.jobs.progress import tell_end, tell_step
from activessf.launching.meeting import agreed, waits
from activessf.launching.ranks import own_rank
from activessf.manifests import write_json, write_table
from activessf.methods.distributed import alone, gathered
from activessf.training.attention import choose_attention
from activessf.training.finite import FiniteLoss
from activessf.training.leaving import LeaveWhenTold
from activessf.training.resuming import Checkpoints, SaveCheckpoints, TrainingData, joined
from activessf.training.timing import TIMING_FILE, StepClock, device_name
from activessf.training.together import Together

log = logging.getLogger(__name__)
# Lightning tells of its hardware and habits before every stage; what is wrong still comes through.
for _library in ("pytorch_lightning", "lightning_fabric"):
    logging.getLogger(_library).setLevel(logging.WARNING)
_HABITS = (
    ".*number of training batches .* is smaller than the logging interval.*",
    ".*does not have many workers.*",  # chosen by the machine, see num_workers
    ".*LeafSpec.*is deprecated.*",  # between Lightning and torch
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*Grad strides do not match bucket view strides.*",  # of parameters that are parts of others
    ".*resuming from a checkpoint that ended before the epoch ended.*",  # see `resuming`
    ".*in eval mode at the start of training.*",  # see `retraining`
)

HISTORY_FOLDER = "history"
HISTORY_FILE = f"{HISTORY_FOLDER}/metrics.csv"
_LONG_HOURS = 12.0
_TIMED_IMAGES = 4


class StepProgress(Callback):
    """One progress bar over all optimiser steps, with the latest loss.

    Args:
        description: Stands before the bar.
        total_steps: Its length.
    """

    def __init__(self, description: str, total_steps: int) -> None:
        self._description, self._total_steps = description, total_steps
        self._bar = tqdm(total=total_steps, desc=description, unit="step", disable=waits())

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Advance by the steps done."""
        self._bar.update(trainer.global_step - self._bar.n)
        losses = {name: float(value) for name, value in trainer.callback_metrics.items() if name.endswith("loss")}
        self._bar.set_postfix({name: f"{loss:.3f}" for name, loss in losses.items()}, refresh=False)
        last = next(iter(losses.values()), None)
        tell_step(self._description, trainer.current_epoch, trainer.global_step, self._total_steps, last)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Leave the full bar."""
        self._bar.close()
        tell_end()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Leave the bar where it is."""
        self._bar.close()


def num_steps(num_images: int, batch_size: int, epochs: float | None, steps: int | None) -> int:
    """Optimiser steps of a training: `steps` if given, else `epochs` times the whole batches of an epoch, rounded.

    Raises:
        InputError: Neither is given, or the result is no positive number.
    """
    if steps is None and epochs is None:
        raise InputError("The recipe gives neither epochs nor steps; set one.")
    total = steps if steps is not None else round((epochs or 0) * max(1, num_images // batch_size))
    if total < 1:
        raise InputError(
            f"The recipe asks for {total} training steps (epochs={epochs}, steps={steps}); set at least 1."
        )
    return total


def num_warmup_steps(num_images: int, batch_size: int, epochs: float | None, steps: int | None, total: int) -> int:
    """Optimiser steps of the warm-up, `steps` or `epochs` worth of them, at most the whole training; 0 if not given."""
    if steps is None:
        steps = round((epochs or 0) * max(1, num_images // batch_size))
    return min(steps, total)


@dataclass(frozen=True)
class Runner:
    """What pretraining and fine-tuning share: the hardware, the loaders, who watches, the seed.

    Attributes:
        make_trainer: A partial `Trainer`: hardware and precision.
        loggers: Called once a job trains for real; the loggers besides the CSV history.
        num_workers: Loader processes.
        cache_bytes: Decoded images kept in memory, a loader process.
        seed: Of order, views, masks and dropout.
        failed: Folder for a batch whose loss is no number; not a stage's own, which a failure removes.
        checkpoint_minutes: Least time between checkpoints; infinite: there are none.
    """

    make_trainer: Callable[..., Trainer]
    loggers: Callable[[], Sequence[Logger]]
    num_workers: int
    cache_bytes: int
    seed: int
    failed: Path
    checkpoint_minutes: float

    def images(self, paths: Sequence[Path], targets: Sequence[int] | None, view: View) -> ImageFiles:
        """Image files as this job's loaders read them."""
        return ImageFiles(paths, targets, view, self.seed, cache_bytes=self.cache_bytes)

    def fit(
        self,
        module: LightningModule,
        images: ImageFiles,
        batch_size: int,
        total_steps: int,
        directory: Path,
        description: str,
        checkpoints: Checkpoints,
        callbacks: Sequence[Callback] = (),
    ) -> float:
        """Train a module for `total_steps` optimiser steps; its CSV history goes to `directory/history/metrics.csv`.

        `history/timing.json` beside it tells where the time went.

        A training that was stopped before goes on from its newest checkpoint. Where several processes train together,
        each sees its part of every batch, and process 0 logs and saves.

        Args:
            module: What is trained.
            images: What it sees.
            batch_size: Images a step, of all processes.
            total_steps: Optimiser steps.
            directory: An existing folder.
            description: Stands before the progress bar.
            checkpoints: Where this training's are. They stay: whoever publishes what it gave clears them.
            callbacks: Who watches, besides the progress bar and a guard against losses that are no numbers.

        Returns:
            Seconds that it took, those before it was stopped left out.
        """
        seed_everything(self.seed, verbose=False)
        rank = own_rank()
        history = CSVLogger(directory, name="", version=HISTORY_FOLDER)
        resumed = self._newest(checkpoints)
        before = checkpoints.history(resumed)
        saving = SaveCheckpoints(checkpoints, self.checkpoint_minutes, history, before)
        guard = FiniteLoss(description, self.failed)
        clock = StepClock()
        together = [Together(self.seed, rank.index)] if rank.count > 1 else []
        trainer = self.make_trainer(
            max_steps=total_steps,
            max_epochs=-1,
            logger=[history, *self.loggers()],
            callbacks=[
                *(clock.first, StepProgress(description, total_steps), guard),
                *(*callbacks, saving, LeaveWhenTold(saving), *together, clock.last),
            ],
            enable_progress_bar=False,
            enable_checkpointing=False,
            default_root_dir=directory,
            use_distributed_sampler=False,
        )
        assert trainer.world_size == rank.count
        choose_attention(module, trainer)
        at_a_time = batch_at_a_time(batch_size, trainer.accumulate_grad_batches, rank.count)
        share = batch_share(at_a_time, rank.index, rank.count, getattr(module, "mirrors_batch", False))
        data = TrainingData(images, at_a_time, self.num_workers, share)
        if resumed is not None:
            log.info("%s goes on from step %d.", description, int(resumed.stem))
        started = time.monotonic()
        with _habits_unsaid():
            trainer.fit(module, datamodule=data, ckpt_path=resumed)
        if trainer.interrupted:
            raise KeyboardInterrupt  # Lightning ends quietly on Ctrl-C; nothing half-trained may pass for a result
        logged = joined(before, history)
        if len(logged):
            write_table(logged, directory / HISTORY_FILE)
        log.info("%s: %s.", description, clock.timing)
        device = device_name(trainer.strategy.root_device, trainer.world_size)
        write_json({"device": device, **asdict(clock.timing)}, directory / TIMING_FILE)
        return time.monotonic() - started

    def _newest(self, checkpoints: Checkpoints) -> Path | None:
        """The checkpoint that all processes go on from."""

        def decide() -> str | None:
            newest = checkpoints.newest()
            return None if newest is None else str(newest)

        path = agreed(decide)
        return None if path is None else Path(path)

    def predict(self, module: LightningModule, images: ImageFiles, batch_size: int) -> Tensor:
        """Class probabilities of all images, in their order, (n, classes), float64 on the CPU, rows summing to 1."""
        probabilities = self.outputs(module, images, batch_size, "Testing").double()
        return probabilities / probabilities.sum(dim=1, keepdim=True)

    def outputs(self, module: LightningModule, images: ImageFiles, batch_size: int, description: str) -> Tensor:
        """What a module's `predict_step` gives of all images, in their order, on the CPU.

        Where several processes work together, each predicts its part of the images and has the result of all.

        Args:
            module: Predicts.
            images: What is predicted.
            batch_size: Images at a time.
            description: Stands before the progress bar.
        """
        rank = own_rank()
        trainer = self.make_trainer(
            logger=False, enable_checkpointing=False, enable_progress_bar=False, use_distributed_sampler=False
        )
        loader = evaluation_loader(images, batch_size, self.num_workers, rank.index, rank.count)
        with _habits_unsaid():
            batches = trainer.predict(module, tqdm(loader, desc=description, unit="batch", disable=waits()))
        assert batches is not None
        device = trainer.strategy.root_device
        found = gathered(torch.cat([torch.as_tensor(batch).to(device) for batch in batches])).cpu()
        # Image i is row i // count of process i % count; what comes after the last image was seen before.
        by_process = found.reshape(rank.count, len(found) // rank.count, -1)
        return by_process.transpose(0, 1).flatten(0, 1)[: len(images)]


def batch_at_a_time(batch_size: int, accumulated: int, processes: int) -> int:
    """Images that all processes see at a time: the global batch is reached by accumulating gradients.

    Args:
        batch_size: The global batch.
        accumulated: Batches whose gradients are accumulated.
        processes: Those that train together.

    Raises:
        InputError: The batch can't be divided so.
    """
    if batch_size % (accumulated * processes):
        what = f"trainer.accumulate_grad_batches={accumulated}"
        if processes > 1:
            what = f"{processes} devices" + (f" times {what}" if accumulated > 1 else "")
        raise InputError(
            f"{what} does not divide the batch of {batch_size} images (recipe.*.batch_size, the global batch); choose "
            "one that does."
        )
    return batch_size // accumulated


@contextmanager
def _habits_unsaid() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in _HABITS:
            warnings.filterwarnings("ignore", message)
        yield


def say_if_long(
    loss_of: Callable[[Tensor], Tensor],
    images: ImageFiles,
    batch_size: int,
    total_steps: int,
    stage: str,
    batch_multiple: int = 1,
) -> None:
    """Time one step on the CPU and say beforehand if the training will take many hours here.

    Process 0 does so for all of a training. Nothing is said of a GPU: its first step tells little, and runs there are
    meant to be long.

    Args:
        loss_of: Something to differentiate, of images (N, 3, H, W); gradients are left behind.
        images: What the training will see.
        batch_size: Images of a real step.
        total_steps: Optimiser steps.
        stage: Name of the stage.
        batch_multiple: A batch is a multiple of so many images.
    """
    if torch.cuda.is_available() or waits():
        return
    num_timed = -(-_TIMED_IMAGES // batch_multiple) * batch_multiple
    batch = torch.stack([images[0, index % len(images)][0] for index in range(num_timed)])
    with torch.random.fork_rng(devices=[]), alone():
        started = time.monotonic()
        torch.autograd.backward(loss_of(batch))
        seconds = time.monotonic() - started
    hours = seconds * batch_size / len(batch) * total_steps / 3600 / own_rank().count
    if hours > _LONG_HOURS:
        log.warning(
            "%s: %d steps of %d images will take about %.0f hours on this CPU. recipe=small or recipe=quick are made "
            "for a CPU.",
            stage,
            total_steps,
            batch_size,
            hours,
        )
