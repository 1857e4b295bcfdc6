"""What W&B shows of a finished fold, and of all folds of a configuration."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import wandb
from filelock import FileLock
from PIL import Image, ImageOps
from pytorch_lightning.loggers import Logger, WandbLogger
from sklearn.metrics import precision_recall_curve
from wandb.sdk.wandb_run import Run

from activessf.artifacts import fingerprint
from activessf.evaluation.metrics import Metrics, class_names
from activessf.evaluation.statistics import mean_and_deviation
from activessf.manifests import BOX, PROBABILITY_PREFIX, read_json

log = logging.getLogger(__name__)

_MOST_ROWS = 10_000  # of a table, which is what W&B shows
_MOST_POINTS = 200  # of a class's curve
_MOST_IMAGES = 100
_SIDE = 96  # of a picture, pixels
_CURVES = "wandb/area-under-curve/v0"  # W&B's own drawing of such curves
_CELL = ("image", *BOX, "group", "label", "predicted")
_NO_SCORE = ("cells", "support/")


def wandb_runs(loggers: Sequence[Logger]) -> list[Run]:
    """The W&B runs among loggers that keep what they are given."""
    runs = [logger.experiment for logger in loggers if isinstance(logger, WandbLogger)]
    return [run for run in runs if not run.disabled]


def log_fold(runs: Sequence[Run], predictions: pd.DataFrame, crops: Sequence[Path], rare: Collection[str]) -> None:
    """Log precision-recall curves, the confusion matrix and the predictions of one fold.

    `test/pr_curves` has a curve for each class with a test cell, `test/confusion_matrix` counts test cells, and
    `test/predictions` has a row a test cell, mistakes first (see `in_order_of_interest`), 10,000 rows at most, the
    first 100 mistakes with their pictures, which `test/mistakes` shows once more: those of a table stay outside the
    folder of an offline run.

    Args:
        runs: Where to.
        predictions: One row a test cell, checked (see `metrics.check_predictions`).
        crops: The file of each of these cells.
        rare: Their mistakes come first.
    """
    if not runs:
        return
    classes = class_names(predictions)
    shown = in_order_of_interest(predictions.assign(crop=[str(crop) for crop in crops]), rare).head(_MOST_ROWS)
    mistakes = shown[~shown["hit"]].head(_MOST_IMAGES)
    logged: dict[str, Any] = {
        "test/pr_curves": _curves(predictions, classes),
        "test/confusion_matrix": wandb.plot.confusion_matrix(
            y_true=[classes.index(name) for name in predictions["label"]],
            preds=[classes.index(name) for name in predictions["predicted"]],
            class_names=classes,
            title="Confusion matrix",
        ),
        "test/predictions": _prediction_table(shown, mistakes),
    }
    if len(mistakes):
        logged["test/mistakes"] = [_captioned(row) for row in mistakes.to_dict("records")]
    for run in runs:
        run.log(logged)


def log_folds(runs: Sequence[Run], folds: Mapping[int, Metrics]) -> None:
    """Log the table of the folds that are finished: a row each, then their mean and sample standard deviation.

    The means stand in the run's summary as `mean/<metric>`, the deviations as `sd/<metric>`, beside `folds`, their
    number. Metrics are fractions, as in metrics.json; a class is averaged over the folds that test it.

    Args:
        runs: Where to.
        folds: The metrics of each finished fold, one at least.
    """
    names = list(dict.fromkeys(name for metrics in folds.values() for name in metrics if _is_score(name, metrics)))
    scores = {
        name: [value for metrics in folds.values() if isinstance(value := metrics.get(name), float)] for name in names
    }
    spread = {name: mean_and_deviation(known) for name, known in scores.items()}
    rows = [[str(fold), *(metrics.get(name) for name in names)] for fold, metrics in sorted(folds.items())]
    for part, kind in enumerate(("mean", "sd")):
        rows.append([kind, *(_number(spread[name][part]) for name in names)])
    summary: dict[str, Any] = {"folds": len(folds)}
    for name in names:
        for kind, value in zip(("mean", "sd"), spread[name], strict=True):
            if not math.isnan(value):
                summary[f"{kind}/{name}"] = value
    for run in runs:
        run.log({"fold_table": wandb.Table(columns=["fold", *names], data=rows)})
        run.summary.update(summary)


def log_summary(start: Callable[..., list[Logger]], runs_dir: Path, directory: Path) -> None:
    """Log the folds of a configuration that are finished as one W&B run, the same one whenever another fold is.

    Its id follows from the name of the configuration. Online the run is continued; offline a new file replaces that of
    fewer folds, so that a later `wandb sync` finds one. Where W&B fails, a warning is all: the folds are safe.

    Args:
        start: Starts a run, given `run_id` and `job_type`; see `training.loggers`.
        runs_dir: Folder of the configuration, `<name>/fold_<i>/metrics.json`.
        directory: Where W&B writes, in a subfolder `wandb`.
    """
    run_id = f"summary-{fingerprint(runs_dir.name)}"
    with FileLock(directory / "wandb" / f".{run_id}.lock"):
        # Read under the lock, so that of two folds that end together the second tells of both.
        paths = sorted(runs_dir.glob("fold_*/metrics.json"))
        folds = {int(path.parent.name.removeprefix("fold_")): read_json(path) for path in paths}
        try:
            runs = wandb_runs(start(run_id=run_id, job_type="summary"))
            log_folds(runs, folds)
            wandb.finish()
        except wandb.errors.Error as error:
            log.warning("The table of all folds could not be logged to W&B (%s).", error)
            wandb.finish(exit_code=1)
            return
        kept = {Path(run.settings.sync_dir).name for run in runs}
        for earlier in (directory / "wandb").glob(f"offline-run-*-{run_id}"):
            if earlier.name not in kept:
                shutil.rmtree(earlier)


def in_order_of_interest(predictions: pd.DataFrame, rare: Collection[str]) -> pd.DataFrame:
    """The rows with a column `confidence`, the probability of the predicted class: mistakes before hits.

    Of both, cells of rare classes come first, then the most confident.
    """
    classes = class_names(predictions)
    columns = predictions[[f"{PROBABILITY_PREFIX}{name}" for name in classes]].to_numpy(float)
    chosen = [classes.index(name) for name in predictions["predicted"]]
    keys = {
        "confidence": columns[np.arange(len(columns)), chosen],
        "hit": (predictions["label"] == predictions["predicted"]).to_numpy(),
        "common": ~predictions["label"].isin(list(rare)).to_numpy(),
    }
    ordered = predictions.assign(**keys).sort_values(
        ["hit", "common", "confidence"], ascending=[True, True, False], kind="stable"
    )
    return ordered.drop(columns=["common"])


def _curves(predictions: pd.DataFrame, classes: Sequence[str]) -> Any:
    """Precision over recall of each class against the rest; the area below its steps is its average precision."""
    labels, rows = predictions["label"].to_numpy(str), []
    most = min(_MOST_POINTS, _MOST_ROWS // len(classes))
    for name in classes:
        if not (labels == name).any():
            continue
        scores = predictions[f"{PROBABILITY_PREFIX}{name}"].to_numpy(float)
        precision, recall, _ = precision_recall_curve(labels == name, scores, drop_intermediate=True)
        shown = np.unique(np.linspace(0, len(recall) - 1, most).round().astype(int))
        rows += [[name, float(recall[point]), float(precision[point])] for point in shown]
    return wandb.plot_table(
        _CURVES,
        wandb.Table(columns=["class", "recall", "precision"], data=rows),
        {"x": "recall", "y": "precision", "class": "class"},
        {"title": "Precision over recall", "x-axis-title": "Recall", "y-axis-title": "Precision"},
    )


def _prediction_table(shown: pd.DataFrame, mistakes: pd.DataFrame) -> Any:
    rows: list[list[Any]] = []
    for number, row in enumerate(shown.to_dict("records")):
        picture = wandb.Image(row["crop"]) if number < len(mistakes) else None
        of_label = float(row[f"{PROBABILITY_PREFIX}{row['label']}"])
        rows.append([picture, *(_plain(row[name]) for name in _CELL), float(row["confidence"]), of_label])
    return wandb.Table(columns=["cell", *_CELL, "confidence", "probability of label"], data=rows)


def _captioned(row: Mapping[str, Any]) -> wandb.Image:
    """The picture of a mistake. W&B shows those of one size only."""
    with Image.open(row["crop"]) as crop:
        picture = ImageOps.pad(crop.convert("RGB"), (_SIDE, _SIDE), color="white")
    return wandb.Image(picture, caption=f"{row['label']}, taken for {row['predicted']} ({row['confidence']:.2f})")


def _is_score(name: str, metrics: Metrics) -> bool:
    return isinstance(metrics[name], float) and not name.startswith(_NO_SCORE)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _plain(value: Any) -> Any:
    """Numbers as W&B's tables take them; a whole image has no box."""
    if isinstance(value, str):
        return value
    return _number(float(value))
