"""The one place that wires the stages: configuration in, results out.

The scripts call `preprocess`, `select` and `train`.
"""

from __future__ import annotations

import copy
import logging
import os
import time
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
from omegaconf import DictConfig
from pytorch_lightning import seed_everything
from pytorch_lightning.loggers import Logger

from activessf.artifacts import Artifact, content_hash, files_fingerprint, fingerprint, readable
from activessf.auditing import Auditing, planted_sentence
from activessf.checkpoints.loading import load_encoder, load_method
from activessf.classification import PREDICTIONS_FILE, Classification, drop_idle
from activessf.configuration import build, flat, plain, without
from activessf.data.augmentations import WholeView
from activessf.data.folds import training_and_test
from activessf.data.joined_groups import joined_members
from activessf.errors import InputError
from activessf.evaluation.dashboards import log_fold, log_summary, wandb_runs
from activessf.evaluation.leaks.evidence import write_evidence
from activessf.evaluation.metrics import Metrics, fold_metrics, read_predictions
from activessf.launching.command import in_sweep
from activessf.launching.meeting import meeting, waits
from activessf.launching.ranks import own_rank
from activessf.launching.trainers import num_devices, with_ranks
from activessf.manifests import read_json, write_json, write_text
from activessf.methods.method import SelfSupervisedMethod
from activessf.preparation import VERSIONS, Preparation
from activessf.pretrained import check_hub, existing_checkpoint
from activessf.provenance import device, frozen_requirements, now, provenance, rerunnable
from activessf.regions.quality.page import PAGE
from activessf.selecting import Selecting
from activessf.selection.audit.page import PAGE as AUDIT_PAGE
from activessf.selection.stage import selected_crops
from activessf.training.loggers import kept_id
from activessf.training.pretraining import SUMMARY_FILE, Watched, pretrain
from activessf.training.resuming import Checkpoints
from activessf.training.running import Runner
from activessf.training.timing import TIMING_FILE
from activessf.training.watching.feature_probe import LabeledCells
from activessf.training.watching.settings import Watch
from activessf.trainings import cell_images, make_backbone, make_optimization, tell, training_checkpoints

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.json"

# Raised when the result of a stage changes for the same inputs.
_VERSIONS = {"pretraining": 2, "finetuning": 2}

# What does not change a result: where it goes, who watches, which machine works.
_NO_PART_IN_RESULTS = (
    *("fold", "paths", "logger", "num_workers", "cache_gib", "experiment", "trainer"),
    *("strict", "shard", "num_shards", "calibrate", "calibration", "quality", "audit", "watch"),
    *("checkpoint_minutes", "dry_run", "plan"),
)
# Keys know of no file where there is none; tables must, to tell such runs from others.
_FROM_SCRATCH = {"backbone.checkpoint": None, "ssl_method.init": None}
_HASH_DIGITS = 16  # of a file's content, in keys and tables
_STAGE_1 = ("regions", "slide_overrides", "tiling")
_NO_PART_OF_TRAINER = ("accelerator", "devices", "strategy", "enable_model_summary", "log_every_n_steps")


def preprocess(config: DictConfig) -> Path:
    """Stage 1: the regions of all slides, and a page to judge them by; returns the folder with regions.csv.

    With `calibrate` set it finds settings of stage 1 instead, and with `shard` it does a share of the slides.
    """
    _refuse_dry_run(config)
    preparation = Preparation(config)
    if config.calibrate is not None:
        return preparation.calibrate()
    if config.shard is not None:
        return preparation.search_shard()
    folder = preparation.regions.obtain()
    preparation.check_strict()
    log.info("%s", _told(read_json(folder / SUMMARY_FILE)))
    log.info("To look at: %s", preparation.quality.obtain() / PAGE)
    return folder


def select(config: DictConfig) -> Path:
    """Stages 1 and 2: what pretraining would see, and an audit of it; returns the folder with selection.csv."""
    _refuse_dry_run(config)
    selecting = Selecting(Preparation(config))
    if selecting.strategy is None:
        raise InputError("selection=none selects nothing: pretraining sees the whole slides. Choose another selection.")
    selecting.check_features()
    selecting.prepared.warn_of_duplicates()
    folder = selecting.selection.obtain()
    where = "all folds" if config.selection.scope == "all" else f"fold {config.fold.index}"
    log.info("%s keeps %d regions in %s.", config.selection.name, len(selected_crops(folder)), where)
    with_page = config.audit.page if config.audit.page != "auto" else not in_sweep()
    audited = Auditing(selecting, with_page).audit.obtain()
    if sentence := planted_sentence(audited):
        log.info("%s", sentence)
    if with_page:
        log.info("To look at: %s", audited / AUDIT_PAGE)
    return folder


def train(config: DictConfig) -> Path:
    """All stages for one fold; returns the run folder with predictions.csv and metrics.json.

    Of several processes that are started for it, all train together, and process 0 does the rest.
    """
    pipeline = Pipeline(config)
    if config.ssl_method.method is not None:
        pipeline.selecting.check_features()
    if config.dry_run:
        from activessf import dry_run  # it looks at what is built here

        return dry_run.plan(pipeline)
    with meeting():
        folder = pipeline.obtain_run()
        if not waits():
            pipeline.log_folds()
    metrics = read_json(folder / METRICS_FILE)
    log.info(
        "%s, fold %d: accuracy %.2f %%, PR-AUC %.2f %%, F1 %.2f %%",
        pipeline.title,
        config.fold.index,
        *(100 * metrics[name] for name in ("accuracy", "pr_auc", "f1")),
    )
    return folder


def _refuse_dry_run(config: DictConfig) -> None:
    if config.dry_run:
        raise InputError("dry_run=true tells what train.py would do, with the stages before it; leave it away here.")


def training_devices(config: DictConfig) -> int:
    """Devices that one training is to have, each in a process of its own; a dry run needs none."""
    return 1 if config.dry_run else num_devices(build(config.trainer))


class Pipeline:
    """Stages 3 to 5 of one configuration and fold, on what `Preparation` and `Selecting` give."""

    def __init__(self, config: DictConfig, selecting: Selecting | None = None) -> None:
        """See `Preparation`; what is given must be of a configuration that differs in fine-tuning alone."""
        self.selecting = Selecting(Preparation(config)) if selecting is None else selecting
        self.prepared = self.selecting.prepared
        self.classification = Classification(self.prepared, config)
        self.config = config
        self.fold = self.prepared.fold
        self.seed = self.prepared.seed
        self._trained = False

    @property
    def title(self) -> str:
        """The run in a table's words."""
        title = f"{self.config.ssl_method.name} + {self.config.selection.name}"
        if self.config.ssl_method.method is None:
            title = f"{self.config.backbone.name} ({self._first_weights})"
        return title if self.classification.name is None else f"{title}, {self.classification.name}"

    @property
    def _first_weights(self) -> str:
        """What a supervised run starts from, in a table's words."""
        if self.config.backbone.checkpoint is not None:
            return f"from {Path(self.config.backbone.checkpoint).name}"
        return "pretrained weights" if self.config.backbone.pretrained else "no pretraining"

    @property
    def pretraining_settings(self) -> dict[str, Any]:
        """What the pretrained encoder depends on besides its images."""
        return {
            "version": _VERSIONS["pretraining"],
            # What fine-tuning does has no part in it.
            "method": {key: value for key, value in self._method_settings.items() if not key.startswith("finetuning_")},
            "backbone": self._backbone_settings,
            "training": plain(self.config.recipe.pretraining),
            "trainer": without(self.config.trainer, *_NO_PART_OF_TRAINER),
            "compile": self.config.compile,
            "seed": self.seed,
        }

    @cached_property
    def pretraining(self) -> Artifact:
        """The pretrained encoder."""
        images = self.selecting.pretraining_images()
        regions = self.config.selection.pool == "regions"
        base = self.prepared.regions.folder if regions else self.prepared.source.root
        names = [path.relative_to(base).as_posix() for path in images]
        content = fingerprint([self.prepared.regions.name, names]) if regions else files_fingerprint(base, names)
        inputs = {**self.pretraining_settings, "images": content}
        label = f"{self.config.data.name}-{self.config.ssl_method.name}-{self.config.selection.name}"
        return self.prepared.artifact("pretraining", label, inputs, lambda folder: self._pretrain(images, folder))

    def _pretrain(self, images: list[Path], folder: Path) -> None:
        recipe, method = self.config.recipe.pretraining, self.method()
        ssl = self.config.ssl_method
        method.optimization = make_optimization(recipe, len(images), ssl.betas, ssl.layer_decay, ssl.decay_vectors)
        # Whatever selection.scope is: cells of the tested fold are not even watched.
        training, _ = training_and_test(self.prepared.labeled, self.fold)
        cells = cell_images(self.prepared, self._runner, training, WholeView(self.config.recipe.image_size))
        probed = LabeledCells(cells, list(training["joined_group"]), self.fold)
        watched = Watched(Watch(**plain(self.config.watch)), probed)
        pretrain(
            method,
            images,
            build(ssl.view),
            self._runner,
            ssl.name,
            folder,
            training_checkpoints(self.prepared.output_dir, self.pretraining.name),
            watched,
            self.config.compile,
        )

    def method(self) -> SelfSupervisedMethod:
        """The method with its first weights."""
        seed_everything(self.seed, verbose=False)
        method: SelfSupervisedMethod = build(self.config.ssl_method.method, backbone=make_backbone(self.config))
        if self.config.ssl_method.init is not None:
            tell(str(load_method(method, self.config.ssl_method.init)))
        elif self.config.backbone.checkpoint is not None:
            tell(str(load_encoder(method.encoder, self.config.backbone.checkpoint)))
            method.encoder_replaced()
        return method

    # Stages 4 and 5

    @cached_property
    def run_inputs(self) -> dict[str, Any]:
        """What a run depends on, without the fold: runs that agree in it are the folds of one configuration."""
        settings = without(self.config, *_NO_PART_IN_RESULTS)
        settings["trainer"] = without(self.config.trainer, *_NO_PART_OF_TRAINER)
        settings["backbone"], settings["ssl_method"] = self._backbone_settings, self._method_settings
        settings["data"] = {
            "name": self.config.data.name,
            "num_folds": self.config.data.num_folds,
            "join_duplicates": self.prepared.joins_duplicates,
            "classes": list(self.prepared.source.classes),
            "cells": self.prepared.cells.name,
        }
        # Settings of stages that have no part in the result would tell equal runs apart.
        drop_idle(settings)
        if self.config.ssl_method.method is None:
            for unused in (*_STAGE_1, "selection"):
                del settings[unused]
            del settings["recipe"]["pretraining"], settings["recipe"]["feature_image_size"]
            return {"versions": {**VERSIONS, **_VERSIONS}, "settings": settings}
        settings["data"]["slides"] = self.prepared.slides_identity
        if self.selecting.strategy is None:
            for unused in _STAGE_1:
                del settings[unused]
            del settings["selection"]["scope"]
        else:
            settings["slide_overrides"] = self.prepared.overrides
        if not self.selecting.needs_features:
            del settings["selection"]["features"], settings["recipe"]["feature_image_size"]
        else:
            del settings["selection"]["features"]["batch_size"]
        return {"versions": {**VERSIONS, **_VERSIONS}, "settings": settings}

    @cached_property
    def run_name(self) -> str:
        """Readable name and fingerprint of the configuration, shared by its folds."""
        parts = [self.config.data.name, self.config.recipe.name, self.config.ssl_method.name]
        parts.append(self.config.backbone.name if self.config.ssl_method.method is None else self.config.selection.name)
        if self.classification.name is not None:
            parts.append(self.classification.name)
        return f"{readable('-'.join(parts))}-{fingerprint(self.run_inputs)}"

    @property
    def run(self) -> Artifact:
        """The run folder of this fold."""
        folder = self.prepared.output_dir / "runs" / self.run_name / f"fold_{self.fold}"
        return Artifact(folder, {**self.run_inputs, "fold": self.fold}, self._run)

    def obtain_run(self) -> Path:
        """The run folder of this fold, made by all processes together if it is not there."""
        return _obtained(self.run, self._checkpoints)

    def _obtain_pretraining(self) -> Path:
        return _obtained(self.pretraining, training_checkpoints(self.prepared.output_dir, self.pretraining.name))

    def _run(self, folder: Path) -> None:
        started, clock = now(), time.monotonic()
        self.check_networks()
        if not waits():
            self.prepared.warn_of_duplicates()
        try:
            pretrained = None if self.config.ssl_method.method is None else self._obtain_pretraining()
            base = self.finetuned
            finetuned = None if base is None else base.obtain_run()
            before = time.monotonic() - clock
            told = self.classification.run(pretrained, finetuned, folder, self._runner, self.run_name)
            if waits():
                return
            predictions = read_predictions(folder / PREDICTIONS_FILE)
            metrics = fold_metrics(predictions)
            write_json(metrics, folder / METRICS_FILE)
            self._write_evidence(pretrained is not None, folder)
            self._log_test(predictions, metrics)
        except BaseException:
            wandb.finish(exit_code=1)
            raise
        wandb.finish()  # one W&B run a job, also where a sweep runs many in one process
        seconds = {"before_finetuning": before, "finetuning": time.monotonic() - clock - before}
        write_json(self._record(pretrained, folder, started, seconds, told), folder / "run.json")
        write_text(rerunnable(self.config), folder / "config.yaml")
        write_text(frozen_requirements(), folder / "requirements-frozen.txt")
        self._trained = True

    @property
    def finetuned(self) -> Pipeline | None:
        """What gives the run of which only the classifier is retrained; None where none is."""
        if not self.classification.trains or self.config.recipe.finetuning.retrain_head is None:
            return None
        config = copy.deepcopy(self.config)
        config.recipe.finetuning.retrain_head = None
        return Pipeline(config, self.selecting)

    def check_networks(self) -> None:
        """Refuse a backbone that doesn't fit the method, or weights that aren't at hand, before anything long runs."""
        self._check_starting_weights()
        if self.config.backbone.pretrained and self.config.ssl_method.method is not None:
            raise InputError(
                f"backbone.pretrained=true has no effect with ssl={self.config.ssl_method.name}, which pretrains from "
                "scratch; leave it away, or use ssl=none."
            )
        if self.config.backbone.pretrained:
            if "model_name" not in self.config.backbone:
                make_backbone(self.config)(num_classes=0)  # not of timm; says itself that there are no weights
            check_hub(self.config.backbone.model_name, "backbone.pretrained=false")
        self.classification.check()
        if self.config.ssl_method.method is not None:
            self.method()
            build(self.config.ssl_method.view)
            if self.selecting.needs_features:
                self.selecting.extractor.identity()  # a checkpoint that is named must be there

    def _check_starting_weights(self) -> None:
        """Refuse more than one origin of the first weights."""
        checkpoint, init = self.config.backbone.checkpoint, self.config.ssl_method.init
        if init is not None and self.config.ssl_method.method is None:
            raise InputError("ssl.init starts a pretraining, and ssl=none has none; use backbone.checkpoint.")
        if init is not None and checkpoint is not None:
            raise InputError(
                "ssl.init and backbone.checkpoint both give the encoder its first weights; leave one of them away."
            )
        if checkpoint is not None and self.config.backbone.pretrained:
            raise InputError(
                "backbone.checkpoint and backbone.pretrained=true both give the network its first weights; leave one "
                "of them away."
            )

    @property
    def _id_file(self) -> Path:
        # Of the W&B run, for as long as this fold has no result: an attempt that was stopped goes on in it.
        return self._checkpoints.folder / "wandb_id"

    @property
    def _checkpoints(self) -> Checkpoints:
        return training_checkpoints(self.prepared.output_dir, f"{self.run_name}-fold_{self.fold}")

    def _write_evidence(self, pretrained: bool, folder: Path) -> None:
        selecting, prepared = self.selecting, self.prepared
        training, _ = training_and_test(prepared.labeled, self.fold)
        sources = selecting.pretraining_sources() if pretrained else None
        selection = selecting.selection.folder if pretrained and selecting.strategy is not None else None
        write_evidence(folder, self.fold, training, sources, selection, prepared.spanning)

    def _log_test(self, predictions: pd.DataFrame, metrics: Metrics) -> None:
        numbers = {f"test/{name}": value for name, value in metrics.items() if isinstance(value, int | float)}
        for logger in self._loggers:
            logger.log_metrics(numbers)
        _, test = training_and_test(self.prepared.labeled, self.fold)
        crops = [self.prepared.cells.folder / crop for crop in test["crop"]]
        log_fold(wandb_runs(self._loggers), predictions, crops, self.prepared.source.rare)

    def log_folds(self) -> None:
        """Log the table of all finished folds as a W&B run of its own, if this process has finished one."""
        # In a sweep of W&B all runs of this process would be the one that the sweep has started.
        if self._trained and wandb_runs(self._loggers) and not os.environ.get("WANDB_SWEEP_ID"):
            start = partial(self._started, name=f"{self.title}, all folds", config=self.run_inputs["settings"])
            log_summary(start, self.run.folder.parent, self.prepared.output_dir)

    def _record(
        self,
        pretrained: Path | None,
        folder: Path,
        started: str,
        seconds: dict[str, float],
        classification: dict[str, Any],
    ) -> dict[str, Any]:
        """What ran, for run.json."""
        summary = {} if pretrained is None else read_json(pretrained / SUMMARY_FILE)
        record = provenance()
        record["choices"]["backbone"] = self.config.backbone.name  # which the choice may leave to the method
        if pretrained is None:
            record["choices"]["selection"] = "none"  # it had no part, whatever was chosen
        return {
            "run": self.run_name,
            "fold": self.fold,
            "title": self.title,
            "settings": {**_FROM_SCRATCH, **self.classification.idle, **flat(self.run_inputs["settings"])},
            "seed": self.seed,
            "scope": None if pretrained is None or self.selecting.strategy is None else self.config.selection.scope,
            "classes": list(self.prepared.source.classes),
            "rare": list(self.prepared.source.rare),
            "common": list(self.prepared.source.common),
            "stage_versions": self.run_inputs["versions"],
            "pretraining": None if pretrained is None else pretrained.name,
            "stages": self._stages,
            "folds_given": self.prepared.folds_given,
            "joined_groups": joined_members(self.prepared.labeled),
            "pretraining_images": summary.get("images"),
            "pretraining_steps": summary.get("steps"),
            "classification": classification,
            "started": started,
            "seconds": {**seconds, "pretraining": summary.get("seconds")},
            "device": device(self.config.trainer.accelerator),
            "timing": {"pretraining": _timing(pretrained), "finetuning": _timing(folder)},
            **record,
        }

    @property
    def _stages(self) -> dict[str, str]:
        """The results below `stages` that the run rests on, by stage: reports find crops and pages by them."""
        selecting, prepared = self.selecting, self.prepared
        results = {"cells": prepared.cells, "folds": prepared.folds, "duplicates": prepared.duplicates}
        if self.config.ssl_method.method is not None:
            results["pretraining"] = self.pretraining
            if selecting.strategy is not None:
                results |= {"regions": prepared.regions, "selection": selecting.selection}
        return {stage: result.name for stage, result in results.items()}

    # What several stages need

    @property
    def _backbone_settings(self) -> dict[str, Any]:
        return _by_content(self.config.backbone, "checkpoint")

    @property
    def _method_settings(self) -> dict[str, Any]:
        return _by_content(self.config.ssl_method, "init", "official")

    @cached_property
    def _runner(self) -> Runner:
        minutes = self.config.checkpoint_minutes
        return Runner(
            make_trainer=with_ranks(build(self.config.trainer)),
            loggers=lambda: [] if waits() else self._loggers,
            num_workers=self._loader_workers,
            cache_bytes=int(self.config.cache_gib * 2**30),
            seed=self.seed,
            checkpoint_minutes=float("inf") if minutes is None else minutes,
            failed=self.prepared.output_dir / "failed" / self.run_name / f"fold_{self.fold}",
        )

    @property
    def _loader_workers(self) -> int:
        """Loader processes of each training process; where they follow from the machine, its processes share it."""
        workers = self.prepared.num_workers
        return workers // own_rank().local_count if self.config.num_workers is None else workers

    @cached_property
    def _loggers(self) -> list[Logger]:
        settings = {**self.run_inputs["settings"], "fold": self.fold}
        name = f"{self.title}, fold {self.fold}"
        return self._started(name=name, config=settings, run_id=kept_id(self._id_file))

    def _started(self, **described: Any) -> list[Logger]:
        loggers: list[Logger] = build(self.config.logger)(
            group=self.run_name, directory=self.prepared.output_dir, **described
        )
        return loggers


def _obtained(trained: Artifact, checkpoints: Checkpoints) -> Path:
    """What a training gives. Only where that is published, its checkpoints go: also those that a kill has left."""
    folder = trained.obtain_together()
    if not waits():
        with suppress(OSError):  # results may be shared read-only
            checkpoints.clear()
    return folder


def _by_content(node: DictConfig, key: str, *left_out: str) -> dict[str, Any]:
    """Settings in which a file of weights counts by its content, and none is as if there were no such setting."""
    settings = without(node, key, *left_out)
    if node[key] is not None:
        settings[key] = content_hash(existing_checkpoint(node[key]))[:_HASH_DIGITS]
    return settings


def _timing(folder: Path | None) -> dict[str, Any] | None:
    """Where the time of a training went; None where there was none, or an earlier version that did not tell."""
    there = folder is not None and (folder / TIMING_FILE).is_file()
    return read_json(folder / TIMING_FILE) if folder is not None and there else None


def _told(summary: dict[str, Any]) -> str:
    return (
        f"{summary['regions']} regions in {summary['images_with_region']} of {summary['images']} slides, "
        f"{summary['failed']} slides failed."
    )
