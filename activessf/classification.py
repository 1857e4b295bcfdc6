"""Stage 4 of one configuration and fold: the classifier, from its first weights to predictions.csv."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything
from torch import nn

from activessf.checkpoints.loading import load_encoder
from activessf.configuration import build, is_supervised, plain, without
from activessf.data.augmentations import WholeView
from activessf.data.class_weights import Counts, class_counts, drawing_weights
from activessf.data.datasets import ImageFiles
from activessf.data.folds import training_and_test
from activessf.errors import InputError
from activessf.evaluation.predictions import write_predictions
from activessf.launching.ranks import own_rank
from activessf.methods.batch_norm import normalise_together
from activessf.preparation import Preparation
from activessf.pretrained import draw_classifier, load_backbone, load_weights, read_state_dict
from activessf.training.classifiers import FeatureClassifier
from activessf.training.cosine_classifier import classify_by_cosine
from activessf.training.finetuning import NETWORK_FILE, Finetuning, finetune
from activessf.training.frozen import Embedding, classify_frozen
from activessf.training.held_out import split
from activessf.training.mixing import Mixing
from activessf.training.pretraining import ENCODER_FILE
from activessf.training.retraining import retrain_head
from activessf.training.running import Runner
from activessf.trainings import (
    cell_images,
    check_training,
    make_backbone,
    make_optimization,
    tell,
    training_checkpoints,
)

log = logging.getLogger(__name__)

VERSION = 3  # raised when the result of a fine-tuning changes for the same inputs

PREDICTIONS_FILE = "predictions.csv"
_NORMALISED = "normalised_classifier"  # the key of a loss that is the network's to know

# Keys know of no setting that does nothing; tables must, to tell such runs from others.
_IDLE = {
    "ssl_method.finetuning_pool": "avg",
    "recipe.finetuning.mixup": 0.0,
    "recipe.finetuning.cutmix": 0.0,
    "recipe.finetuning.ema_decay": None,
    "recipe.finetuning.checkpoint": "last",
    "recipe.finetuning.retrain_head": None,
    "sampler.exponent": None,
    "sampler.beta": None,
}


class Cells(NamedTuple):
    """The labeled cells by their part in stage 4.

    Attributes:
        training: Are learned from.
        validation: Of the training folds, held out to choose the epoch; None = the last is used.
        test: Of the test fold.
    """

    training: pd.DataFrame
    validation: pd.DataFrame | None
    test: pd.DataFrame


class Classification:
    """Learns from the labeled cells of the training folds and predicts those of the test fold."""

    def __init__(self, prepared: Preparation, config: DictConfig) -> None:
        self.prepared = prepared
        self.config = config
        self.fold = prepared.fold

    @property
    def trains(self) -> bool:
        """Whether the network is fine-tuned; else its encoder stays as it is."""
        return self.config.evaluation.classifier is None

    @property
    def name(self) -> str | None:
        """How the encoder is evaluated, for titles; None for fine-tuning, which is the usual way."""
        return None if self.trains else str(self.config.evaluation.name).replace("_", " ")

    @property
    def idle(self) -> dict[str, Any]:
        """The settings that keys know nothing of where they do nothing, see `drop_idle`."""
        return {key: value for key, value in _IDLE.items() if self.trains or key.startswith("ssl_method.")}

    def check(self) -> None:
        """Refuse what can't be, before anything long runs.

        Raises:
            InputError: A view, a pooling, a loss, a classifier that can't be made, too few cells to hold some out, or
                a batch that can't be divided.
        """
        if self.trains:
            check_training(self.config, "finetuning")
        self._check_pool()
        build(self.config.recipe.finetuning.view if self.trains else self.config.evaluation.classifier)
        if self.trains:
            self._loss([1] * len(self.prepared.source.classes))
            if self.config.loss.get(_NORMALISED):
                self._fit_classifier_to_loss(self.network(None))
        if self.trains and self.config.recipe.finetuning.checkpoint == "best":
            self.cells  # noqa: B018  holds some out
        if is_supervised(self.config) and self.config.backbone.checkpoint is not None:
            self.network(None)

    @cached_property
    def cells(self) -> Cells:
        """The labeled cells of this fold."""
        training, test = training_and_test(self.prepared.labeled, self.fold)
        recipe = self.config.recipe.finetuning
        if not self.trains or recipe.checkpoint == "last":
            return Cells(training, None, test)
        targets = np.array([self.prepared.source.classes.index(label) for label in training["label"]])
        parts = split(targets, list(training["joined_group"]), recipe.validation_share, self.prepared.seed)
        if parts is None:
            raise InputError(
                f"recipe.finetuning.checkpoint=best holds out a part of the training cells, and the {len(training)} of "
                f"fold {self.fold} are too few, or of one group; use recipe.finetuning.checkpoint=last."
            )
        return Cells(training.iloc[parts.known], training.iloc[parts.held_out], test)

    def network(self, pretrained: Path | None) -> nn.Module:
        """The network with its first weights: with a classifier to be fine-tuned, else the encoder alone.

        Args:
            pretrained: The folder of the pretraining; None = there is none.
        """
        seed_everything(self.prepared.seed, verbose=False)
        arguments: dict[str, Any] = {"num_classes": 0}
        if self.trains:
            arguments = {
                "num_classes": len(self.prepared.source.classes),
                "global_pool": self.config.ssl_method.finetuning_pool,
                "drop_path_rate": self.config.recipe.finetuning.drop_path_rate,
            }
        network: nn.Module = make_backbone(self.config)(**arguments)
        if pretrained is not None:
            # Mean tokens are normed after their pooling: fc_norm is fresh, the encoder's norm unused.
            fresh = ("fc_norm.", "norm.") if arguments.get("global_pool") == "avg" else ()
            load_weights(network, read_state_dict(pretrained / ENCODER_FILE), pretrained, fresh)
        elif is_supervised(self.config) and self.config.backbone.checkpoint is not None:
            tell(str(load_encoder(network, self.config.backbone.checkpoint)))
        std = self.config.ssl_method.finetuning_head_std
        if self.trains and std is not None:
            draw_classifier(network, std)
        if self.trains and own_rank().count > 1:
            normalise_together(network)
        return network

    def run(
        self, pretrained: Path | None, finetuned: Path | None, folder: Path, runner: Runner, run_name: str
    ) -> dict[str, Any]:
        """Write predictions.csv, and what else a fine-tuning leaves, into `folder`; returns what run.json tells of it.

        Args:
            pretrained: The folder of the pretraining; None = there is none.
            finetuned: The folder of a finished run of this fold, of which only the classifier is retrained; None = the
                network is trained, or evaluated, as it comes from the pretraining.
            folder: An existing folder.
            runner: Trains and predicts.
            run_name: Name of the run, which its folds share.
        """
        classes = self.prepared.source.classes
        unseen = [name for name in classes if name not in set(self.cells.training["label"])]
        if unseen:
            log.warning("No training cell of %s in fold %d; it can't be learned there.", ", ".join(unseen), self.fold)
        if finetuned is not None:
            probabilities, told = self._retrain_head(finetuned, folder, runner, run_name)
        else:
            evaluate = self._finetune if self.trains else self._classify_frozen
            probabilities, told = evaluate(pretrained, folder, runner, run_name)
        write_predictions(self.cells.test, probabilities, classes, folder / PREDICTIONS_FILE)
        return {"evaluation": self.config.evaluation.name, **told}

    def _finetune(self, pretrained: Path | None, folder: Path, runner: Runner, run_name: str) -> tuple[Any, Any]:
        recipe, classes, cells = self.config.recipe.finetuning, self.prepared.source.classes, self.cells
        network = self.network(pretrained)
        self._fit_classifier_to_loss(network)
        decay = self.config.ssl_method.finetuning_layer_decay
        optimization = make_optimization(recipe, len(cells.training), recipe.betas, decay)
        mixing = None
        if recipe.mixup or recipe.cutmix:
            mixing = Mixing(recipe.mixup, recipe.cutmix, len(classes), self.prepared.seed)
        images = cell_images(self.prepared, runner, cells.training, build(recipe.view))
        drawn = drawing_weights(images.targets, len(classes), **plain(self.config.sampler))
        loss = self._loss(class_counts(images.targets, len(classes)))
        finetuned = finetune(
            Finetuning(network, loss, optimization, mixing),
            images.weighted(drawn),
            self._as_they_are(runner, cells.test),
            runner,
            folder,
            training_checkpoints(self.prepared.output_dir, f"{run_name}-fold_{self.fold}"),
            None if cells.validation is None else self._as_they_are(runner, cells.validation),
            recipe.ema_decay,
        )
        return finetuned.probabilities.numpy(), {"checkpoint": recipe.checkpoint, **finetuned.used}

    def _retrain_head(self, finetuned: Path, folder: Path, runner: Runner, run_name: str) -> tuple[Any, Any]:
        recipe, classes = self.config.recipe.finetuning, self.prepared.source.classes
        network = self.network(None)
        load_backbone(network, read_state_dict(finetuned / NETWORK_FILE), finetuned)
        images = cell_images(self.prepared, runner, self.cells.training, build(recipe.view))
        length = {"epochs": recipe.retrain_head, "steps": None, "warmup_epochs": None, "warmup_steps": None}
        phase = OmegaConf.create({**plain(recipe), **length})
        optimization = make_optimization(phase, len(images), recipe.betas, layer_decay=1.0)
        probabilities = retrain_head(
            # Drawing makes the classes equal: a loss that does so too would do it twice.
            Finetuning(network, nn.CrossEntropyLoss(), optimization),
            images.weighted(drawing_weights(images.targets, len(classes), exponent=0.0, beta=None)),
            self._as_they_are(runner, self.cells.test),
            runner,
            folder,
            training_checkpoints(self.prepared.output_dir, f"{run_name}-fold_{self.fold}"),
        )
        return probabilities.numpy(), {"head_of": finetuned.parent.name, "steps": optimization.total_steps}

    def _loss(self, counts: Counts) -> nn.Module:
        """The loss, made with the training cells of each class where it depends on them."""
        loss = build(without(self.config.loss, _NORMALISED))
        return loss if isinstance(loss, nn.Module) else cast(nn.Module, loss(class_counts=counts))

    def _fit_classifier_to_loss(self, network: nn.Module) -> None:
        if self.config.loss.get(_NORMALISED, False):
            classify_by_cosine(network, self.config.loss.scale)

    def _classify_frozen(self, pretrained: Path | None, folder: Path, runner: Runner, run_name: str) -> tuple[Any, Any]:
        classifier: FeatureClassifier = build(self.config.evaluation.classifier)
        classified = classify_frozen(
            Embedding(self.network(pretrained), self.config.ssl_method.finetuning_pool),
            classifier,
            self._as_they_are(runner, self.cells.training),
            list(self.cells.training["joined_group"]),
            self._as_they_are(runner, self.cells.test),
            len(self.prepared.source.classes),
            runner,
            self.config.recipe.finetuning.batch_size,
        )
        return classified

    def _as_they_are(self, runner: Runner, cells: pd.DataFrame) -> ImageFiles:
        return cell_images(self.prepared, runner, cells, WholeView(self.config.recipe.image_size))

    def _check_pool(self) -> None:
        if self.config.ssl_method.finetuning_pool != "token":
            return
        encoder = make_backbone(self.config)(num_classes=0)
        if getattr(encoder, "cls_token", None) is None:
            raise InputError(
                f"ssl_method.finetuning_pool=token, but {self.config.backbone.name} has no class token; use "
                "recipe.finetuning.pool=avg."
            )


def drop_idle(settings: dict[str, Any]) -> None:
    """Take settings of stage 4 that have no part in its result out of those that key a run.

    Args:
        settings: The whole configuration as plain values; changed in place.
    """
    recipe, method = settings["recipe"]["finetuning"], settings["ssl_method"]
    del recipe["pool"]  # ssl_method.finetuning_pool is what counts
    if settings["evaluation"]["classifier"] is not None:
        for unused in ("loss", "sampler"):
            settings.pop(unused, None)
        del settings["recipe"]["finetuning"], method["finetuning_layer_decay"], method["finetuning_head_std"]
    else:
        del settings["evaluation"]
        if recipe["checkpoint"] == "last":
            del recipe["validation_share"]
    for key, idle in _IDLE.items():
        *path, last = key.split(".")
        node = settings
        for part in path:
            node = node.get(part, {})
        if last in node and node[last] == idle:
            del node[last]
    if not settings.get("sampler", True):  # natural: nothing is left of it
        del settings["sampler"]
