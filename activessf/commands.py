"""What each script does with its configuration: the functions that preprocess.py, select.py and train.py call."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from activessf.auditing import Auditing, planted_sentence
from activessf.configuration import build, is_supervised
from activessf.dry_run import plan
from activessf.errors import InputError
from activessf.launching.command import in_sweep
from activessf.launching.meeting import meeting, waits
from activessf.launching.trainers import num_devices
from activessf.manifests import read_json
from activessf.pipeline import METRICS_FILE, Pipeline
from activessf.preparation import Preparation
from activessf.regions.quality.page import PAGE
from activessf.selecting import Selecting
from activessf.selection.audit.page import PAGE as AUDIT_PAGE
from activessf.selection.stage import selected_crops
from activessf.training.pretraining import SUMMARY_FILE

log = logging.getLogger(__name__)


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
    if not is_supervised(config):
        pipeline.selecting.check_features()
    if config.dry_run:
        return plan(pipeline)
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


def _told(summary: dict[str, Any]) -> str:
    return (
        f"{summary['regions']} regions in {summary['images_with_region']} of {summary['images']} slides, "
        f"{summary['failed']} slides failed."
    )
