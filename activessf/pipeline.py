"""The run of one configuration and fold: it wires the stages, from what they start from to metrics.json."""

from __future__ import annotations

import copy
import os
import time
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from activessf.artifacts import Artifact, fingerprint, readable
from activessf.classification import PREDICTIONS_FILE, Classification, drop_idle
from activessf.classification import VERSION as FINETUNING_VERSION
from activessf.configuration import build, is_supervised, without
from activessf.data.folds import training_and_test
from activessf.evaluation.dashboards import log_fold, log_summary, wandb_runs
from activessf.evaluation.leaks.evidence import write_evidence
from activessf.evaluation.metrics import Metrics, fold_metrics, read_predictions
from activessf.launching.meeting import waits
from activessf.launching.ranks import own_rank
from activessf.launching.trainers import with_ranks
from activessf.manifests import write_json, write_text
from activessf.preparation import VERSIONS, Preparation
from activessf.pretraining import VERSION as PRETRAINING_VERSION
from activessf.pretraining import Pretraining
from activessf.provenance import frozen_requirements, now, rerunnable
from activessf.run_record import RunRecord
from activessf.selecting import Selecting
from activessf.training.loggers import kept_id
from activessf.training.resuming import Checkpoints
from activessf.training.running import Runner
from activessf.trainings import obtain_training, trainer_settings, training_checkpoints

METRICS_FILE = "metrics.json"

_VERSIONS = {**VERSIONS, "pretraining": PRETRAINING_VERSION, "finetuning": FINETUNING_VERSION}

# What does not change a result: where it goes, who watches, which machine works.
_NO_PART_IN_RESULTS = (
    *("fold", "paths", "logger", "num_workers", "cache_gib", "experiment", "trainer"),
    *("strict", "shard", "num_shards", "calibrate", "calibration", "quality", "audit", "watch"),
    *("checkpoint_minutes", "dry_run", "plan"),
)
_STAGE_1 = ("regions", "slide_overrides", "crop_size", "tiling")


class Pipeline:
    """Stages 3 to 5 of one configuration and fold, on what `Preparation` and `Selecting` give."""

    def __init__(self, config: DictConfig, selecting: Selecting | None = None) -> None:
        """See `Preparation`; what is given must be of a configuration that differs in fine-tuning alone."""
        self.selecting = Selecting(Preparation(config)) if selecting is None else selecting
        self.prepared = self.selecting.prepared
        self.pretraining = Pretraining(self.selecting, config, lambda: self._runner)
        self.classification = Classification(self.prepared, config)
        self.config = config
        self.fold = self.prepared.fold
        self.seed = self.prepared.seed
        self._trained = False

    @property
    def title(self) -> str:
        """The run in a table's words."""
        title = f"{self.config.ssl_method.name} + {self.config.selection.name}"
        if is_supervised(self.config):
            title = f"{self.config.backbone.name} ({self._first_weights})"
        return title if self.classification.name is None else f"{title}, {self.classification.name}"

    @property
    def _first_weights(self) -> str:
        """What a supervised run starts from, in a table's words."""
        if self.config.backbone.checkpoint is not None:
            return f"from {Path(self.config.backbone.checkpoint).name}"
        return "pretrained weights" if self.config.backbone.pretrained else "no pretraining"

    @cached_property
    def run_inputs(self) -> dict[str, Any]:
        """What a run depends on, without the fold: runs that agree in it are the folds of one configuration."""
        settings = without(self.config, *_NO_PART_IN_RESULTS)
        settings["trainer"] = trainer_settings(self.config)
        settings["backbone"] = self.pretraining.backbone_settings
        settings["ssl_method"] = self.pretraining.method_settings
        settings["data"] = {
            "name": self.config.data.name,
            "num_folds": self.config.data.num_folds,
            "join_duplicates": self.prepared.joins_duplicates,
            "classes": list(self.prepared.source.classes),
            "cells": self.prepared.cells.name,
        }
        # Settings of stages that have no part in the result would tell equal runs apart.
        drop_idle(settings)
        if is_supervised(self.config):
            for unused in (*_STAGE_1, "selection"):
                del settings[unused]
            del settings["recipe"]["pretraining"], settings["recipe"]["feature_image_size"]
            return {"versions": _VERSIONS, "settings": settings}
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
        return {"versions": _VERSIONS, "settings": settings}

    @cached_property
    def run_name(self) -> str:
        """Readable name and fingerprint of the configuration, shared by its folds."""
        parts = [self.config.data.name, self.config.recipe.name, self.config.ssl_method.name]
        parts.append(self.config.backbone.name if is_supervised(self.config) else self.config.selection.name)
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
        return obtain_training(self.run, self._checkpoints)

    def _run(self, folder: Path) -> None:
        started, clock = now(), time.monotonic()
        self.check_networks()
        if not waits():
            self.prepared.warn_of_duplicates()
        try:
            pretrained = None if is_supervised(self.config) else self.pretraining.obtain()
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
        record = RunRecord(self.run_name, self.title, self.run_inputs, self.pretraining, self.classification)
        write_json(record.ended(pretrained, folder, started, seconds, told), folder / "run.json")
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
        self.pretraining.check_first_weights()
        self.classification.check()
        if not is_supervised(self.config):
            self.pretraining.check()

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
