"""Stage 4: the classifier, fine-tuned on the labeled cells of the training folds."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning import Callback, LightningModule
from torch import Tensor, nn

from activessf.checkpoints.heads import save_network
from activessf.data.datasets import ImageFiles
from activessf.training.averaging import WeightAverage
from activessf.training.best_epoch import BestEpoch
from activessf.training.losses import LDAMLoss
from activessf.training.mixing import Mixing
from activessf.training.optimization import Optimization, top_learning_rate
from activessf.training.resuming import Checkpoints
from activessf.training.running import Runner, say_if_long

log = logging.getLogger(__name__)

NETWORK_FILE = "network.safetensors"
VALIDATION_FILE = "validation.csv"


class Finetuning(LightningModule):
    """A network with a classification head, its loss and its optimiser.

    Args:
        network: A timm network with a head of one logit a class.
        loss: Of logits (N, classes) and class indices (N,); with `mixing`, of shares of classes (N, classes).
        optimization: How it is optimised.
        mixing: Mixes the images of a batch; None = they stay as they are.
    """

    def __init__(
        self, network: nn.Module, loss: nn.Module, optimization: Optimization, mixing: Mixing | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.optimization = optimization
        self.mixing = mixing

    def forward(self, images: Tensor) -> Tensor:
        """Class probabilities, (N, classes), of normalised images, (N, 3, H, W)."""
        logits: Tensor = self.network(images)
        return logits.float().softmax(dim=1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Loss of one batch of images and class indices."""
        images, targets = batch
        if self.mixing is not None:
            # Batches begun in the whole training, of which a checkpoint keeps count.
            number = self.trainer.fit_loop.epoch_loop.batch_progress.total.ready
            images, targets = self.mixing(images, targets, number)
        if isinstance(self.loss, LDAMLoss):
            self.loss.progress = self.global_step / self.optimization.total_steps
        loss: Tensor = self.loss(self.network(images), targets)
        self.log("train/loss", loss, batch_size=len(images), sync_dist=True)
        self.log("train/lr", top_learning_rate(self))
        return loss

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Class probabilities of one batch."""
        images, _ = batch
        probabilities: Tensor = self(images)
        return probabilities

    def configure_optimizers(self) -> Any:
        """Optimiser and schedule, with layer-wise learning rates over the whole network."""
        exempt: Collection[str] = ()
        if hasattr(self.network, "no_weight_decay"):
            exempt = self.network.no_weight_decay()  # type: ignore[operator]
        return self.optimization.configure(self.network, undecayed=exempt)


class Finetuned(NamedTuple):
    """What a fine-tuning gives.

    Attributes:
        probabilities: Of the test cells, (n, classes), float64.
        used: Whose weights were tested: `step` and `epoch` of how many `steps`, and, where cells were held out to
            choose the epoch, their number `validation_cells` and their `pr_auc`, `accuracy` and `f1`.
    """

    probabilities: Tensor
    used: dict[str, float]


def finetune(
    module: Finetuning,
    training: ImageFiles,
    test: ImageFiles,
    runner: Runner,
    folder: Path,
    checkpoints: Checkpoints,
    validation: ImageFiles | None = None,
    ema_decay: float | None = None,
) -> Finetuned:
    """Train on one set of cells, write `network.safetensors` and `history/`, and predict the other.

    The weights of the last step are used, as in the paper, or those of the epoch that did best on `validation`, which
    `validation.csv` shows; the test cells have no part in training or in choosing.

    Args:
        module: The network with its loss and optimization.
        training: Cells of the training folds.
        test: Cells of the test fold.
        runner: Trains and predicts.
        folder: An existing folder.
        checkpoints: Where those of the training are.
        validation: Cells of the training folds that are not trained on, to choose the epoch by; None = the last.
        ema_decay: Decay of the average of weights that is used in place of the weights, see `WeightAverage`; None =
            there is none.
    """
    batch_size, steps = module.optimization.batch_size, module.optimization.total_steps
    log.info("Fine-tuning on %d cells, %d steps.", len(training), steps)
    # In evaluation mode, so that timing leaves no trace in running statistics.
    module.eval()
    say_if_long(lambda images: module.network(images).sum(), training, batch_size, steps, "Fine-tuning")
    module.zero_grad()
    average = None if ema_decay is None else WeightAverage(module.network, ema_decay)
    tested = module.network if average is None else average.network
    epoch = max(1, len(training) // batch_size)
    best = None
    if validation is not None:
        table = folder / VALIDATION_FILE
        best = BestEpoch(tested, validation, batch_size, runner.num_workers, epoch, steps, table)
    watching: list[Callback] = [callback for callback in (average, best) if callback is not None]
    runner.fit(module.train(), training, batch_size, steps, folder, "Fine-tuning", checkpoints, watching)
    used: dict[str, float] = {"epoch": round(steps / epoch, 2), "step": steps}
    if best is not None and validation is not None:
        used = {**best.best, "validation_cells": len(validation)}
        log.info("Epoch %g of %g did best on %d held-out cells.", used["epoch"], steps / epoch, len(validation))
    module.network.load_state_dict(tested.state_dict() if best is None else best.weights)
    save_network(module.network, folder / NETWORK_FILE)
    return Finetuned(runner.predict(module, test, batch_size), {**used, "steps": steps})
