"""Stage 3 of one configuration and fold: the encoder that a method learns from the images that stage 2 leaves."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import seed_everything

from activessf.artifacts import Artifact, content_hash, files_fingerprint, fingerprint
from activessf.checkpoints.loading import load_encoder, load_method
from activessf.configuration import build, is_supervised, plain, without
from activessf.data.augmentations import WholeView
from activessf.data.folds import training_and_test
from activessf.errors import InputError
from activessf.launching.meeting import waits
from activessf.methods.method import SelfSupervisedMethod
from activessf.pretrained import check_hub, existing_checkpoint
from activessf.selecting import Selecting
from activessf.training.pretraining import Watched, pretrain
from activessf.training.running import Runner
from activessf.training.watching.feature_probe import LabeledCells
from activessf.training.watching.settings import Watch
from activessf.trainings import (
    cell_images,
    check_training,
    make_backbone,
    make_optimization,
    obtain_training,
    tell,
    trainer_settings,
    training_checkpoints,
)

VERSION = 3  # raised when the result changes for the same inputs

_HASH_DIGITS = 16  # of a file's content, in keys and tables


class Pretraining:
    """Learns an encoder without labels, and knows what networks start from, be they pretrained here or not.

    Args:
        selecting: Gives the images.
        config: May differ from that of `selecting` in fine-tuning alone.
        make_runner: Called when it trains.
    """

    def __init__(self, selecting: Selecting, config: DictConfig, make_runner: Callable[[], Runner]) -> None:
        self.selecting = selecting
        self.prepared = selecting.prepared
        self.config = config
        self._make_runner = make_runner

    @property
    def backbone_settings(self) -> dict[str, Any]:
        """The backbone, with its first weights."""
        return _by_content(self.config.backbone, "checkpoint")

    @property
    def method_settings(self) -> dict[str, Any]:
        """The method, with its first weights; also what it says of fine-tuning."""
        return _by_content(self.config.ssl_method, "init", "official")

    @property
    def settings(self) -> dict[str, Any]:
        """What the pretrained encoder depends on besides its images."""
        return {
            "version": VERSION,
            # What fine-tuning does has no part in it.
            "method": {key: value for key, value in self.method_settings.items() if not key.startswith("finetuning_")},
            "backbone": self.backbone_settings,
            "training": plain(self.config.recipe.pretraining),
            "trainer": trainer_settings(self.config),
            "compile": self.config.compile,
            "seed": self.prepared.seed,
        }

    @cached_property
    def artifact(self) -> Artifact:
        """The pretrained encoder."""
        images = self.selecting.pretraining_images()
        regions = self.config.selection.pool == "regions"
        base = self.prepared.regions.folder if regions else self.prepared.source.root
        names = [path.relative_to(base).as_posix() for path in images]
        content = fingerprint([self.prepared.regions.name, names]) if regions else files_fingerprint(base, names)
        inputs = {**self.settings, "images": content}
        label = f"{self.config.data.name}-{self.config.ssl_method.name}-{self.config.selection.name}"
        return self.prepared.artifact("pretraining", label, inputs, lambda folder: self._pretrain(images, folder))

    def obtain(self) -> Path:
        """The folder of the pretrained encoder, made by all processes together if it is not there."""
        return obtain_training(self.artifact, training_checkpoints(self.prepared.output_dir, self.artifact.name))

    def _pretrain(self, images: list[Path], folder: Path) -> None:
        recipe, method, runner = self.config.recipe.pretraining, self.method(), self._make_runner()
        self._warn_of_copies(len(images), method)
        ssl = self.config.ssl_method
        method.optimization = make_optimization(recipe, len(images), ssl.betas, ssl.layer_decay, ssl.decay_vectors)
        # Whatever selection.scope is: cells of the tested fold are not even watched.
        training, _ = training_and_test(self.prepared.labeled, self.prepared.fold)
        cells = cell_images(self.prepared, runner, training, WholeView(self.config.recipe.image_size))
        probed = LabeledCells(cells, list(training["joined_group"]), self.prepared.fold)
        watched = Watched(Watch(**plain(self.config.watch)), probed)
        pretrain(
            method,
            images,
            build(ssl.view),
            runner,
            ssl.name,
            folder,
            training_checkpoints(self.prepared.output_dir, self.artifact.name),
            watched,
            self.config.compile,
        )

    def _warn_of_copies(self, num_images: int, method: SelfSupervisedMethod) -> None:
        """Say that a batch has copies of images: MoCo v3 tells them apart, MixMIM mixes an image with itself."""
        size, batch = self.config.recipe.pretraining.batch_size, check_training(self.config, "pretraining")
        at_a_time = batch.images * batch.processes
        if num_images >= at_a_time or waits():
            return
        multiple = method.batch_multiple * batch.processes
        most = num_images // multiple * multiple
        cure = (
            f"choose recipe.pretraining.batch_size={most * (size // at_a_time)} or lower" if most > 1 else "add images"
        )
        warnings.warn(
            f"{num_images} images for batches of {at_a_time}: images are repeated within a batch; {cure}.", stacklevel=2
        )

    def method(self) -> SelfSupervisedMethod:
        """The method with its first weights."""
        seed_everything(self.prepared.seed, verbose=False)
        method: SelfSupervisedMethod = build(self.config.ssl_method.method, backbone=make_backbone(self.config))
        if self.config.ssl_method.init is not None:
            tell(str(load_method(method, self.config.ssl_method.init)))
        elif self.config.backbone.checkpoint is not None:
            tell(str(load_encoder(method.encoder, self.config.backbone.checkpoint)))
            method.encoder_replaced()
        return method

    def check(self) -> None:
        """Refuse a method that can't be made, or a network for features that isn't there, before anything long runs.

        Raises:
            InputError: The backbone does not fit, a checkpoint is missing, a view can't be, nor a batch of this size.
        """
        batch = check_training(self.config, "pretraining")
        self.method().check_batch(batch.images, batch.processes)
        build(self.config.ssl_method.view)
        if self.selecting.needs_features:
            self.selecting.extractor.identity()  # a checkpoint that is named must be there

    def check_first_weights(self) -> None:
        """Refuse first weights of several origins, or such as have no effect or aren't at hand.

        Raises:
            InputError: Which setting to leave away.
        """
        checkpoint, init = self.config.backbone.checkpoint, self.config.ssl_method.init
        pretrained, supervised = self.config.backbone.pretrained, is_supervised(self.config)
        if init is not None and supervised:
            raise InputError("ssl.init starts a pretraining, and ssl=none has none; use backbone.checkpoint.")
        if init is not None and checkpoint is not None:
            raise InputError(
                "ssl.init and backbone.checkpoint both give the encoder its first weights; leave one of them away."
            )
        if checkpoint is not None and pretrained:
            raise InputError(
                "backbone.checkpoint and backbone.pretrained=true both give the network its first weights; leave one "
                "of them away."
            )
        if pretrained and not supervised:
            raise InputError(
                f"backbone.pretrained=true has no effect with ssl={self.config.ssl_method.name}, which pretrains from "
                "scratch; leave it away, or use ssl=none."
            )
        if pretrained:
            if "model_name" not in self.config.backbone:
                make_backbone(self.config)(num_classes=0)  # not of timm; says itself that there are no weights
            check_hub(self.config.backbone.model_name, "backbone.pretrained=false")


def _by_content(node: DictConfig, key: str, *left_out: str) -> dict[str, Any]:
    """Settings in which a file of weights counts by its content, and none is as if there were no such setting."""
    settings = without(node, key, *left_out)
    if node[key] is not None:
        settings[key] = content_hash(existing_checkpoint(node[key]))[:_HASH_DIGITS]
    return settings
