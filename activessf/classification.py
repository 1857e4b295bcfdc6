"""Stage 4 of one configuration and fold: the classifier, from its first weights to predictions.csv."""

from __future__ import annotations

import logging
from pathlib import Path

from pytorch_lightning import seed_everything
from torch import nn

from activessf.checkpoints.loading import load_encoder
from activessf.configuration import build
from activessf.data.augmentations import WholeView
from activessf.data.folds import training_and_test
from activessf.evaluation.predictions import write_predictions
from activessf.preparation import Preparation
from activessf.pretrained import load_weights, read_state_dict
from activessf.training.finetuning import Finetuning, finetune
from activessf.training.pretraining import ENCODER_FILE
from activessf.training.running import Runner
from activessf.trainings import cell_images, make_backbone, make_optimization, tell, training_checkpoints

log = logging.getLogger(__name__)

PREDICTIONS_FILE = "predictions.csv"


class Classification:
    """Fine-tunes on the labeled cells of the training folds and predicts those of the test fold."""

    def __init__(self, prepared: Preparation) -> None:
        self.prepared = prepared
        self.config = prepared.config
        self.fold = prepared.fold

    def network(self) -> nn.Module:
        """The network to be fine-tuned, with its first weights; those of a pretraining are still to be loaded."""
        seed_everything(self.prepared.seed, verbose=False)
        network: nn.Module = make_backbone(self.config)(
            num_classes=len(self.prepared.source.classes),
            global_pool="avg",
            drop_path_rate=self.config.recipe.finetuning.drop_path_rate,
        )
        if self.config.ssl_method.method is None and self.config.backbone.checkpoint is not None:
            tell(str(load_encoder(network, self.config.backbone.checkpoint)))
        return network

    def run(self, pretrained: Path | None, folder: Path, runner: Runner, run_name: str) -> None:
        """Write predictions.csv, and what else the fine-tuning leaves, into `folder`.

        Args:
            pretrained: The folder of the pretraining; None = there is none.
            folder: An existing folder.
            runner: Trains and predicts.
            run_name: Name of the run, which its folds share.
        """
        recipe, classes = self.config.recipe.finetuning, self.prepared.source.classes
        training, test = training_and_test(self.prepared.labeled, self.fold)
        unseen = [name for name in classes if name not in set(training["label"])]
        if unseen:
            log.warning("No training cell of %s in fold %d; it can't be learned there.", ", ".join(unseen), self.fold)
        network = self.network()
        if pretrained is not None:
            # Classification pools the patch tokens and norms after that: fc_norm is fresh, the encoder's norm unused.
            load_weights(network, read_state_dict(pretrained / ENCODER_FILE), pretrained, fresh=("fc_norm.", "norm."))
        decay = self.config.ssl_method.finetuning_layer_decay
        optimization = make_optimization(recipe, len(training), recipe.betas, decay)
        module = Finetuning(network, build(self.config.loss), optimization)
        probabilities = finetune(
            module,
            cell_images(self.prepared, runner, training, build(recipe.view)),
            cell_images(self.prepared, runner, test, WholeView(self.config.recipe.image_size)),
            runner,
            folder,
            training_checkpoints(self.prepared.output_dir, f"{run_name}-fold_{self.fold}"),
        )
        write_predictions(test, probabilities.numpy(), classes, folder / PREDICTIONS_FILE)
