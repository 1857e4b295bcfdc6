"""The one place that wires the stages: configuration in, stage results out.

Below the three functions that the scripts call (`preprocess`, `select`, `train`) every stage is an `Artifact`: a folder
keyed by what it depends on, made when it is needed and missing.
"""

from __future__ import annotations

import logging
import os
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import wandb
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything
from pytorch_lightning.loggers import Logger

from activessf.artifacts import Artifact, artifact, files_fingerprint, fingerprint, readable
from activessf.configuration import build, check_settings, flat, plain, without
from activessf.data.augmentations import WholeView
from activessf.data.cells import CELLS_FILE, cut_cells
from activessf.data.datasets import ImageFiles, View
from activessf.data.folds import assign_folds, training_and_test, unlabeled_pool
from activessf.data.slides import SLIDES_FILE, check_slides
from activessf.data.source import Source
from activessf.errors import InputError
from activessf.evaluation.metrics import Metrics, fold_metrics, read_predictions
from activessf.evaluation.predictions import write_predictions
from activessf.manifests import CELLS, FOLDS, REGIONS, read_json, read_table, write_json, write_table, write_text
from activessf.methods.method import SelfSupervisedMethod
from activessf.pretrained import check_hub, load_weights, read_state_dict
from activessf.provenance import now, provenance
from activessf.regions.stage import find_regions
from activessf.selection.features import FeatureExtractor
from activessf.selection.stage import select_regions, selected_crops
from activessf.selection.strategy import Strategy
from activessf.training.finetuning import Finetuning, finetune
from activessf.training.optimization import Optimization
from activessf.training.pretraining import ENCODER_FILE, SUMMARY_FILE, pretrain
from activessf.training.running import Runner, num_steps, num_warmup_steps

log = logging.getLogger(__name__)

FOLDS_FILE = "folds.csv"
REGIONS_FILE = "regions.csv"
FEATURES_FILE = "features.npy"
PREDICTIONS_FILE = "predictions.csv"
METRICS_FILE = "metrics.json"

# Raised when the result of a stage changes for the same inputs.
_VERSIONS = {
    "cells": 1,
    "folds": 1,
    "slides": 1,
    "regions": 1,
    "features": 1,
    "selection": 1,
    "pretraining": 1,
    "finetuning": 1,
}

# What does not change a result: where it goes, who watches, which machine works.
_NO_PART_IN_RESULTS = ("fold", "paths", "logger", "num_workers", "cache_gib", "experiment", "trainer")
_NO_PART_OF_TRAINER = ("accelerator", "devices", "enable_model_summary", "log_every_n_steps")
_NO_PART_IN_SELECTION = ("name", "pool", "scope", "features")


def preprocess(config: DictConfig) -> Path:
    """Stage 1: the regions of all slides; returns the folder with regions.csv."""
    pipeline = Pipeline(config)
    folder = pipeline.regions.obtain()
    log.info("%s", _told(read_json(folder / SUMMARY_FILE)))
    return folder


def select(config: DictConfig) -> Path:
    """Stages 1 and 2: what pretraining would see; returns the folder with selection.csv."""
    pipeline = Pipeline(config)
    if config.selection.pool == "slides":
        raise InputError("selection=none selects nothing: pretraining sees the whole slides. Choose another selection.")
    pipeline.check_features()
    folder = pipeline.selection.obtain()
    kept = selected_crops(folder)
    log.info("%s keeps %d regions in fold %d.", config.selection.name, len(kept), config.fold.index)
    return folder


def train(config: DictConfig) -> Path:
    """All stages for one fold; returns the run folder with predictions.csv and metrics.json."""
    pipeline = Pipeline(config)
    if config.ssl_method.method is not None:
        pipeline.check_features()
    folder = pipeline.run.obtain()
    metrics = read_json(folder / METRICS_FILE)
    log.info(
        "%s, fold %d: accuracy %.2f %%, PR-AUC %.2f %%, F1 %.2f %%",
        pipeline.title,
        config.fold.index,
        *(100 * metrics[name] for name in ("accuracy", "pr_auc", "f1")),
    )
    return folder


class Pipeline:
    """The stages of one configuration and fold, each an artifact that names those that it is made from."""

    def __init__(self, config: DictConfig) -> None:
        """Check the settings.

        Raises:
            InputError: A setting that can't be, such as a fold that there isn't.
        """
        check_settings(config)
        self.config = config
        self.output_dir = Path(config.paths.output_dir).absolute()
        self.fold: int = config.fold.index
        self.seed: int = config.seed
        self.num_workers = _default_workers() if config.num_workers is None else int(config.num_workers)

    @property
    def title(self) -> str:
        """The run in a table's words."""
        if self.config.ssl_method.method is None:
            return f"{self.config.backbone.name} (no pretraining)"
        return f"{self.config.ssl_method.name} + {self.config.selection.name}"

    # Data

    @cached_property
    def source(self) -> Source:
        """Labeled cells and slides; the demo's are drawn on first use."""
        source: Source = build(without(self.config.data, "name", "num_folds"))
        return source

    @cached_property
    def cells(self) -> Artifact:
        """The labeled cells, cut out of their images."""
        cells = self.source.cells
        inputs = {
            "version": _VERSIONS["cells"],
            "cells": fingerprint(cells.to_csv(index=False)),
            "files": files_fingerprint(self.source.root, cells["image"]),
        }
        return self._artifact(
            "cells",
            self.config.data.name,
            inputs,
            lambda folder: cut_cells(self.source.root, cells, folder, self.num_workers),
        )

    @cached_property
    def folds(self) -> Artifact:
        """The fold of every labeled cell."""
        inputs = {
            "version": _VERSIONS["folds"],
            "cells": self.cells.name,
            "num_folds": self.config.data.num_folds,
            "seed": self.seed,
        }

        def make(folder: Path) -> None:
            cells = read_table(self.cells.obtain() / CELLS_FILE, [*CELLS, "crop"])
            table = assign_folds(cells, self.config.data.num_folds, self.seed)
            write_table(table[list(FOLDS)], folder / FOLDS_FILE)

        return self._artifact("folds", self.config.data.name, inputs, make)

    @cached_property
    def labeled(self) -> pd.DataFrame:
        """The labeled cells with their folds, columns `manifests.FOLDS`; crops relative to the cells' folder."""
        return read_table(self.folds.obtain() / FOLDS_FILE, FOLDS)

    @cached_property
    def slides(self) -> Artifact:
        """Which slides can be read, for pretraining on whole slides."""
        inputs = {
            "version": _VERSIONS["slides"],
            "slides": files_fingerprint(self.source.root, self.source.slides),
        }
        return self._artifact(
            "slides",
            self.config.data.name,
            inputs,
            lambda folder: check_slides(self.source.root, self.source.slides, folder, self.num_workers),
        )

    # Stage 1

    @cached_property
    def regions(self) -> Artifact:
        """The candidate regions of all slides, shared by the folds."""
        inputs = {
            "version": _VERSIONS["regions"],
            "filter": plain(self.config.regions),
            "slides": files_fingerprint(self.source.root, self.source.slides),
        }

        def make(folder: Path) -> None:
            find_regions(self.source.root, self.source.slides, build(self.config.regions), folder, self.num_workers)

        return self._artifact("regions", self.config.data.name, inputs, make)

    # Stage 2

    @cached_property
    def selection(self) -> Artifact:
        """Which of the fold's candidate regions pretraining sees."""
        strategy, scope = self._strategy, self.config.selection.scope
        assert strategy is not None
        inputs: dict[str, Any] = {
            "version": _VERSIONS["selection"],
            "strategy": without(self.config.selection, *_NO_PART_IN_SELECTION),
            "scope": scope,
            "regions": self.regions.name,
            "folds": self.folds.name,
            "fold": None if scope == "all" else self.fold,
            "seed": self.seed,
        }
        if self._needs_features:
            inputs["features"] = self._extractor.identity()

        def make(folder: Path) -> None:
            regions = self._candidates(scope)
            labeled = self.labeled if scope == "all" else training_and_test(self.labeled, self.fold)[0]
            select_regions(
                strategy,
                self._features(self.cells, CELLS_FILE, labeled["crop"]),
                labeled["label"].to_numpy(str),
                self.source.classes,
                list(regions["crop"]),
                self._features(self.regions, REGIONS_FILE, regions["crop"]),
                self.seed,
                folder,
            )

        return self._artifact("selection", f"{self.config.selection.name}", inputs, make)

    @cached_property
    def _strategy(self) -> Strategy | None:
        if self.config.selection.pool == "slides":
            return None
        strategy: Strategy = build(without(self.config.selection, *_NO_PART_IN_SELECTION))
        return strategy

    @property
    def _needs_features(self) -> bool:
        return self._strategy is not None and self._strategy.needs_features

    def _candidates(self, scope: str) -> pd.DataFrame:
        if scope not in ("train_fold", "all"):
            raise InputError(f"selection.scope={scope} is neither train_fold nor all.")
        regions = read_table(self.regions.obtain() / REGIONS_FILE, REGIONS)
        if scope == "all":
            return regions
        return regions[regions["image"].isin(set(self._pool()))]

    def _pool(self) -> list[str]:
        return unlabeled_pool(self.source.slides, self.labeled, self.fold, self.source.slide_groups)

    def check_features(self) -> None:
        """Refuse a network for features whose weights aren't at hand, within seconds: before slides are even listed.

        Where features of this network have been computed before, `_extractor` tells whether it is needed again.

        Raises:
            InputError: The weights are missing, and how to go on without them.
        """
        if not self._needs_features:
            return
        extractor: FeatureExtractor = build(self.config.selection.features)
        computed = (self.output_dir / "stages" / "features").glob(f"*-{readable(extractor.model_name)}-*")
        if not any(computed):
            extractor.check()

    @cached_property
    def _extractor(self) -> FeatureExtractor:
        extractor: FeatureExtractor = build(self.config.selection.features)
        if not all(self._feature_artifact(part, "", extractor).ready for part in (self.cells, self.regions)):
            extractor.check()
        return extractor

    def _features(self, part: Artifact, table: str, crops: pd.Series[str]) -> NDArray[np.float32]:
        """Features of some of the crops of a stage result, (n, d)."""
        if not self._needs_features or crops.empty:
            return np.zeros((len(crops), 0), np.float32)
        known = pd.Index(read_table(part.obtain() / table, ["crop"])["crop"])
        folder = self._feature_artifact(part, table, self._extractor).obtain()
        features: NDArray[np.float32] = np.load(folder / FEATURES_FILE, mmap_mode="r", allow_pickle=False)
        chosen: NDArray[np.float32] = features[known.get_indexer(crops)]
        return chosen

    def _feature_artifact(self, part: Artifact, table: str, extractor: FeatureExtractor) -> Artifact:
        inputs = {"version": _VERSIONS["features"], "images": part.name, "extractor": extractor.identity()}

        def make(folder: Path) -> None:
            crops = read_table(part.folder / table, ["crop"])["crop"]
            features = extractor(
                [part.folder / crop for crop in crops], self.num_workers, f"Features of {part.folder.parent.name}"
            )
            np.save(folder / FEATURES_FILE, features, allow_pickle=False)

        return self._artifact("features", f"{part.folder.parent.name}-{extractor.model_name}", inputs, make)

    # Stage 3

    def pretraining_images(self) -> list[Path]:
        """The images that pretraining sees: selected regions, or whole slides.

        None comes from an image with a test cell of the fold, unless `selection.scope=all` asked for that.
        """
        if self.config.selection.pool == "slides":
            readable = set(read_table(self.slides.obtain() / SLIDES_FILE, ["image"])["image"])
            pool = [name for name in self._pool() if name in readable]
            if not pool:
                raise InputError(
                    "Every slide holds a test cell of this fold, so there is nothing to pretrain on; give the cells "
                    "their groups (patient or slide), or add slides without labeled cells."
                )
            return [self.source.root / name for name in pool]
        self.selection.obtain()
        regions = self.regions.obtain()
        return [regions / crop for crop in selected_crops(self.selection.folder)]

    @cached_property
    def pretraining(self) -> Artifact:
        """The pretrained encoder."""
        images = self.pretraining_images()
        regions = self.config.selection.pool == "regions"
        base = self.regions.folder if regions else self.source.root
        names = [path.relative_to(base).as_posix() for path in images]
        inputs = {
            "version": _VERSIONS["pretraining"],
            "images": fingerprint([self.regions.name, names]) if regions else files_fingerprint(base, names),
            "method": plain(self.config.ssl_method),
            "backbone": plain(self.config.backbone),
            "training": plain(self.config.recipe.pretraining),
            "trainer": without(self.config.trainer, *_NO_PART_OF_TRAINER),
            "seed": self.seed,
        }
        label = f"{self.config.data.name}-{self.config.ssl_method.name}-{self.config.selection.name}"
        return self._artifact("pretraining", label, inputs, lambda folder: self._pretrain(images, folder))

    def _pretrain(self, images: list[Path], folder: Path) -> None:
        recipe, method = self.config.recipe.pretraining, self._method()
        ssl = self.config.ssl_method
        method.optimization = self._optimization(recipe, len(images), ssl.betas, ssl.layer_decay)
        pretrain(method, images, build(recipe.view), self._runner, self.config.ssl_method.name, folder)

    def _method(self) -> SelfSupervisedMethod:
        seed_everything(self.seed, verbose=False)
        method: SelfSupervisedMethod = build(self.config.ssl_method.method, backbone=self._backbone())
        return method

    # Stages 4 and 5

    @cached_property
    def run_inputs(self) -> dict[str, Any]:
        """What a run depends on, without the fold: runs that agree in it are the folds of one configuration."""
        settings = without(self.config, *_NO_PART_IN_RESULTS)
        settings["trainer"] = without(self.config.trainer, *_NO_PART_OF_TRAINER)
        settings["data"] = {
            "name": self.config.data.name,
            "num_folds": self.config.data.num_folds,
            "classes": list(self.source.classes),
            "cells": self.cells.name,
        }
        # Settings of stages that have no part in the result would tell equal runs apart.
        if self.config.ssl_method.method is None:
            for unused in ("regions", "selection"):
                del settings[unused]
            del settings["recipe"]["pretraining"], settings["recipe"]["feature_image_size"]
            return {"versions": _VERSIONS, "settings": settings}
        settings["data"]["slides"] = files_fingerprint(self.source.root, self.source.slides)
        if self._strategy is None:
            del settings["regions"], settings["selection"]["scope"]
        if not self._needs_features:
            del settings["selection"]["features"], settings["recipe"]["feature_image_size"]
        else:
            del settings["selection"]["features"]["batch_size"]
        return {"versions": _VERSIONS, "settings": settings}

    @cached_property
    def run_name(self) -> str:
        """Readable name and fingerprint of the configuration, shared by its folds."""
        parts = [self.config.data.name, self.config.recipe.name, self.config.ssl_method.name]
        parts.append(self.config.backbone.name if self.config.ssl_method.method is None else self.config.selection.name)
        return f"{readable('-'.join(parts))}-{fingerprint(self.run_inputs)}"

    @property
    def run(self) -> Artifact:
        """The run folder of this fold."""
        folder = self.output_dir / "runs" / self.run_name / f"fold_{self.fold}"
        return Artifact(folder, {**self.run_inputs, "fold": self.fold}, self._run)

    def _run(self, folder: Path) -> None:
        started, clock = now(), time.monotonic()
        self._check_networks()
        try:
            pretrained = None if self.config.ssl_method.method is None else self.pretraining.obtain()
            before = time.monotonic() - clock
            self._finetune(pretrained, folder)
            metrics = fold_metrics(read_predictions(folder / PREDICTIONS_FILE))
            write_json(metrics, folder / METRICS_FILE)
            self._log_test(metrics)
        except BaseException:
            wandb.finish(exit_code=1)
            raise
        wandb.finish()  # one W&B run a job, also where a sweep runs many in one process
        seconds = {"before_finetuning": before, "finetuning": time.monotonic() - clock - before}
        write_json(self._record(pretrained, started, seconds), folder / "run.json")
        write_text(OmegaConf.to_yaml(self.config, resolve=True), folder / "config.yaml")

    def _check_networks(self) -> None:
        """Refuse a backbone that doesn't fit the method, or weights that aren't at hand, before anything long runs."""
        if self.config.backbone.pretrained and self.config.ssl_method.method is not None:
            raise InputError(
                f"backbone.pretrained=true has no effect with ssl={self.config.ssl_method.name}, which pretrains from "
                "scratch; leave it away, or use ssl=none."
            )
        if self.config.backbone.pretrained:
            check_hub(self.config.backbone.model_name, "backbone.pretrained=false")
        build(self.config.recipe.finetuning.view)
        if self.config.ssl_method.method is not None:
            self._method()
            build(self.config.recipe.pretraining.view)
            if self._needs_features:
                self._extractor.identity()  # a checkpoint that is named must be there

    def _finetune(self, pretrained: Path | None, folder: Path) -> None:
        recipe, classes = self.config.recipe.finetuning, self.source.classes
        training, test = training_and_test(self.labeled, self.fold)
        unseen = [name for name in classes if name not in set(training["label"])]
        if unseen:
            log.warning("No training cell of %s in fold %d; it can't be learned there.", ", ".join(unseen), self.fold)
        seed_everything(self.seed, verbose=False)
        network = self._backbone()(num_classes=len(classes), global_pool="avg", drop_path_rate=recipe.drop_path_rate)
        if pretrained is not None:
            # Classification pools the patch tokens and norms after that: fc_norm is fresh, the encoder's norm unused.
            load_weights(network, read_state_dict(pretrained / ENCODER_FILE), pretrained, fresh=("fc_norm.", "norm."))
        decay = self.config.ssl_method.finetuning_layer_decay
        optimization = self._optimization(recipe, len(training), recipe.betas, decay)
        module = Finetuning(network, build(self.config.loss), optimization)
        probabilities = finetune(
            module,
            self._cell_images(training, build(recipe.view)),
            self._cell_images(test, WholeView(self.config.recipe.image_size)),
            self._runner,
            folder,
        )
        write_predictions(test, probabilities.numpy(), classes, folder / PREDICTIONS_FILE)

    def _cell_images(self, cells: pd.DataFrame, view: View) -> ImageFiles:
        targets = [self.source.classes.index(label) for label in cells["label"]]
        return self._runner.images([self.cells.folder / crop for crop in cells["crop"]], targets, view)

    def _log_test(self, metrics: Metrics) -> None:
        numbers = {f"test/{name}": value for name, value in metrics.items() if isinstance(value, int | float)}
        for logger in self._loggers:
            logger.log_metrics(numbers)

    def _record(self, pretrained: Path | None, started: str, seconds: dict[str, float]) -> dict[str, Any]:
        """What ran, for run.json."""
        summary = {} if pretrained is None else read_json(pretrained / SUMMARY_FILE)
        record = provenance()
        if pretrained is None:
            record["choices"]["selection"] = "none"  # it had no part, whatever was chosen
        return {
            "run": self.run_name,
            "fold": self.fold,
            "title": self.title,
            "settings": flat(self.run_inputs["settings"]),
            "seed": self.seed,
            "scope": None if pretrained is None or self._strategy is None else self.config.selection.scope,
            "classes": list(self.source.classes),
            "rare": list(self.source.rare),
            "common": list(self.source.common),
            "pretraining": None if pretrained is None else pretrained.name,
            "pretraining_images": summary.get("images"),
            "pretraining_steps": summary.get("steps"),
            "started": started,
            "seconds": {**seconds, "pretraining": summary.get("seconds")},
            **record,
        }

    # What several stages need

    def _artifact(self, stage: str, label: str, inputs: dict[str, Any], make: Any) -> Artifact:
        return artifact(self.output_dir / "stages", stage, label, inputs, make)

    def _backbone(self) -> Any:
        return build(without(self.config.backbone, "name"))

    @cached_property
    def _runner(self) -> Runner:
        return Runner(
            make_trainer=build(self.config.trainer),
            loggers=lambda: self._loggers,
            num_workers=self.num_workers,
            cache_bytes=int(self.config.cache_gib * 2**30),
            seed=self.seed,
        )

    def _optimization(self, recipe: DictConfig, num_images: int, betas: Any, layer_decay: float) -> Optimization:
        total = num_steps(num_images, recipe.batch_size, recipe.epochs, recipe.steps)
        return Optimization(
            optimizer=build({"_target_": "torch.optim.AdamW", "_partial_": True, "betas": list(betas)}),
            base_lr=recipe.base_lr,
            batch_size=recipe.batch_size,
            weight_decay=recipe.weight_decay,
            layer_decay=layer_decay,
            min_lr=recipe.min_lr,
            warmup_steps=num_warmup_steps(
                num_images, recipe.batch_size, recipe.warmup_epochs, recipe.warmup_steps, total
            ),
            total_steps=total,
        )

    @cached_property
    def _loggers(self) -> list[Logger]:
        make = build(self.config.logger)
        loggers: list[Logger] = make(
            name=f"{self.title}, fold {self.fold}",
            group=self.run_name,
            directory=self.output_dir,
            config={**self.run_inputs["settings"], "fold": self.fold},
        )
        return loggers


def _default_workers() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if cores <= 2 else min(8, cores - 1)


def _told(summary: dict[str, Any]) -> str:
    return (
        f"{summary['regions']} regions in {summary['images_with_region']} of {summary['images']} slides, "
        f"{summary['failed']} slides failed."
    )
