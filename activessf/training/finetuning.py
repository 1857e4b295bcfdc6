"""Stage 4: the classifier, fine-tuned on the labeled cells of the training folds."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule
from safetensors.torch import save_file
from torch import Tensor, nn

from activessf.data.datasets import ImageFiles
from activessf.training.optimization import Optimization, top_learning_rate
from activessf.training.resuming import Checkpoints
from activessf.training.running import Runner, say_if_long

log = logging.getLogger(__name__)

NETWORK_FILE = "network.safetensors"


class Finetuning(LightningModule):
    """A network with a classification head, its loss and its optimiser.

    Args:
        network: A timm network with a head of one logit a class.
        loss: Of logits (N, classes) and class indices (N,).
        optimization: How it is optimised.
    """

    def __init__(self, network: nn.Module, loss: nn.Module, optimization: Optimization) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.optimization = optimization

    def forward(self, images: Tensor) -> Tensor:
        """Class probabilities, (N, classes), of normalised images, (N, 3, H, W)."""
        logits: Tensor = self.network(images)
        return logits.float().softmax(dim=1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Loss of one batch of images and class indices."""
        images, targets = batch
        loss: Tensor = self.loss(self.network(images), targets)
        self.log("train/loss", loss, batch_size=len(images))
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


def finetune(
    module: Finetuning,
    training: ImageFiles,
    test: ImageFiles,
    runner: Runner,
    folder: Path,
    checkpoints: Checkpoints,
) -> Tensor:
    """Train on one set of cells, write `network.safetensors` and `history/`, and predict the other.

    The weights of the last step are used, as in the paper; the test cells have no part in training or in choosing.

    Args:
        module: The network with its loss and optimization.
        training: Cells of the training folds.
        test: Cells of the test fold.
        runner: Trains and predicts.
        folder: An existing folder.
        checkpoints: Where those of the training are.

    Returns:
        Class probabilities of the test cells, (n, classes), float64.
    """
    batch_size, steps = module.optimization.batch_size, module.optimization.total_steps
    log.info("Fine-tuning on %d cells, %d steps.", len(training), steps)
    # In evaluation mode, so that timing leaves no trace in running statistics.
    module.eval()
    say_if_long(lambda images: module.network(images).sum(), training, batch_size, steps, "Fine-tuning")
    module.zero_grad()
    runner.fit(module.train(), training, batch_size, steps, folder, "Fine-tuning", checkpoints)
    weights = {name: value.contiguous() for name, value in module.network.state_dict().items()}
    save_file(weights, folder / NETWORK_FILE)
    return runner.predict(module, test, batch_size)
