"""The classifier made anew on features that stay as they are: decoupled training (Kang 2020, cRT)."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor, nn

from activessf.checkpoints.heads import save_network
from activessf.data.datasets import ImageFiles
from activessf.pretrained import classifier_prefixes
from activessf.training.finetuning import NETWORK_FILE, Finetuning
from activessf.training.resuming import Checkpoints
from activessf.training.running import Runner

log = logging.getLogger(__name__)


def retrain_head(
    module: Finetuning,
    training: ImageFiles,
    test: ImageFiles,
    runner: Runner,
    folder: Path,
    checkpoints: Checkpoints,
) -> Tensor:
    """Train the classifier alone, write `network.safetensors` and `history/`, and predict the test cells.

    Kang 2020 (arXiv 1910.09217, section 4.1): it starts from new weights, and the classes are drawn equally often.

    Args:
        module: The fine-tuned network, its classifier new; the loss and optimization of this phase.
        training: Cells of the training folds, drawn as they are to be.
        test: Cells of the test fold.
        runner: Trains and predicts.
        folder: An existing folder.
        checkpoints: Where those of this phase are.

    Returns:
        Class probabilities of the test cells, (n, classes), float64.
    """
    batch_size, steps = module.optimization.batch_size, module.optimization.total_steps
    log.info("Retraining the classifier on %d cells, %d steps.", len(training), steps)
    freeze_backbone(module.network)
    runner.fit(module, training, batch_size, steps, folder, "Retraining", checkpoints)
    save_network(module.network, folder / NETWORK_FILE)
    return runner.predict(module, test, batch_size)


def freeze_backbone(network: nn.Module) -> None:
    """Let nothing of a network train but its classifier; running statistics stay, and nothing is dropped."""
    network.eval()
    classifier = classifier_prefixes(network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(classifier))
