"""Stage 4 without fine-tuning: classes told by the features of an encoder that stays as it is."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from activessf.backbones.pooling import PooledTokens
from activessf.data.datasets import ImageFiles
from activessf.training.classifiers import Classified, FeatureClassifier, Features, Known
from activessf.training.running import Runner

log = logging.getLogger(__name__)


class Embedding(LightningModule):
    """An encoder that gives pooled features.

    Args:
        encoder: A timm network, or one in the manner of timm's, without a classifier.
        pool: What is taken of a transformer's tokens, see `PooledTokens`.
    """

    def __init__(self, encoder: nn.Module, pool: str) -> None:
        super().__init__()
        self.network = PooledTokens(encoder, pool)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Features of one batch, (N, d)."""
        images, _ = batch
        features: Tensor = self.network(images)
        return features.float()


def classify_frozen(
    embedding: Embedding,
    classifier: FeatureClassifier,
    training: ImageFiles,
    groups: Sequence[str],
    test: ImageFiles,
    num_classes: int,
    runner: Runner,
    batch_size: int,
) -> Classified:
    """Class probabilities of the test cells.

    Args:
        embedding: The encoder.
        classifier: Learns from the features of the training cells.
        training: Cells of the training folds, as evaluation sees them.
        groups: Group (patient, slide) of each; "" = unknown.
        test: Cells of the test fold.
        num_classes: Classes.
        runner: Computes the features.
        batch_size: Images at a time.
    """
    log.info("Features of %d training and %d test cells.", len(training), len(test))
    features: list[Features] = [
        runner.outputs(embedding, images, batch_size, "Features").numpy() for images in (training, test)
    ]
    known = Known(features[0], np.array(training.targets), groups, num_classes, runner.seed)
    return classifier.classify(known, features[1])
