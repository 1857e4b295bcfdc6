"""The metrics of one fold, from its predictions.csv and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    matthews_corrcoef,
    precision_recall_fscore_support,
    roc_auc_score,
)

from activessf.errors import InputError
from activessf.evaluation.calibration import expected_calibration_error
from activessf.manifests import PREDICTIONS, PROBABILITY_PREFIX, read_table

Metrics = dict[str, float | int | list[str]]

_MACRO = ("f1", "pr_auc", "auroc", "class_ece", "brier")

# float32 softmax over a dozen classes errs by about 1e-7; what is further off than this is no rounding.
_SUM_TOLERANCE = 1e-3


def class_names(predictions: pd.DataFrame) -> list[str]:
    """The classes in the order of the probability columns, which is the order of every table."""
    return [name.removeprefix(PROBABILITY_PREFIX) for name in _probability_columns(predictions)]


def read_predictions(path: Path) -> pd.DataFrame:
    """The checked predictions of one fold: one row a test cell, columns as in `manifests.PREDICTIONS`, then p_<class>.

    Raises:
        InputError: The file is missing, is no CSV, lacks a column, or `check_predictions` refuses what it holds.
    """
    predictions = read_table(path, PREDICTIONS)
    check_predictions(predictions, path)
    return predictions


def check_predictions(frame: pd.DataFrame, path: Path) -> None:
    """Check what the metrics rely on: cells, known labels, and probabilities in 0..1 that sum to 1.

    Args:
        frame: Predictions, one row a test cell.
        path: Where they come from, for the message.

    Raises:
        InputError: Names the first row (counted from 1, without the header) that is wrong, and what is wrong with it.
    """
    classes = class_names(frame)
    if not classes:
        raise InputError(f"{path} has no probability column ({PROBABILITY_PREFIX}<class>); write one for every class.")
    if frame.empty:
        raise InputError(f"{path} holds no test cell; run that fold again, or delete its folder.")
    for column in ("label", "predicted"):
        unknown = ~frame[column].isin(classes).to_numpy()
        if unknown.any():
            raise InputError(
                f"{path}, row {_first(unknown)}: {column} {frame[column][unknown].iloc[0]!r} is no class; "
                f"the probability columns name {', '.join(classes)}."
            )
    probabilities = class_probabilities(frame)
    outside = ~((probabilities >= 0) & (probabilities <= 1)).all(axis=1)  # NaN is outside too
    if outside.any():
        wrong = frame[_probability_columns(frame)].iloc[_first(outside) - 1].tolist()
        raise InputError(f"{path}, row {_first(outside)}: probabilities must be numbers in 0..1, found {wrong}.")
    sums = probabilities.sum(axis=1)
    off = np.abs(sums - 1) > _SUM_TOLERANCE
    if off.any():
        raise InputError(
            f"{path}, row {_first(off)}: the probabilities sum to {sums[off][0]:.6g}, not 1; "
            "write softmax outputs, not logits."
        )


def class_probabilities(predictions: pd.DataFrame) -> NDArray[np.float64]:
    """The probability columns as numbers, (cells, classes); what is no number is NaN."""
    numbers = predictions[_probability_columns(predictions)].apply(pd.to_numeric, errors="coerce")
    return np.asarray(numbers, float)


def fold_metrics(predictions: pd.DataFrame) -> Metrics:
    """All metrics of one fold, flat, as fractions; `mcc` in -1..1, all others in 0..1.

    PR-AUC of a class is its one-vs-rest average precision. Means are unweighted, over the classes that have a test cell
    in the fold; the others are listed under `absent`, have `support/<class>` 0 and no other entry. Table II's PR-AUC is
    such a mean over Table I's classes. `ece` is that of the predicted class, `class_ece` and `brier` are means over
    the classes' one-vs-rest errors.

    Args:
        predictions: One row a test cell: label, predicted, then p_<class> a class (see `check_predictions`).

    Returns:
        `cells` (their number), `accuracy`, `balanced_accuracy`, `mcc` (Matthews correlation coefficient), `ece`, the
        means `f1`, `pr_auc`, `auroc`, `class_ece`, `brier`, then for each class `f1/<class>`, `precision/<class>`,
        `recall/<class>`, `pr_auc/<class>`, `auroc/<class>`, `class_ece/<class>`, `brier/<class>`, `support/<class>`,
        and `absent`. A fold of a single class has no AUROC.
    """
    classes = class_names(predictions)
    labels, predicted = predictions["label"].to_numpy(str), predictions["predicted"].to_numpy(str)
    probabilities = class_probabilities(predictions)
    by_class = _decision_metrics(labels, predicted, classes)
    for index, name in enumerate(classes):
        if name in by_class:
            by_class[name] |= _probability_metrics(labels == name, probabilities[:, index])

    metrics: Metrics = {
        "cells": len(predictions),
        "accuracy": float(accuracy_score(labels, predicted)),
        "balanced_accuracy": _mean(by_class, "recall"),
        # Of a single class it is not defined; scikit-learn gives 0 too, with a warning.
        "mcc": float(matthews_corrcoef(labels, predicted)) if len({*labels, *predicted}) > 1 else 0.0,
        "ece": expected_calibration_error(probabilities.max(axis=1), labels == predicted),
    }
    metrics |= {name: _mean(by_class, name) for name in _MACRO if any(name in found for found in by_class.values())}
    for name in classes:
        metrics[f"support/{name}"] = int((labels == name).sum())
        metrics |= {f"{metric}/{name}": value for metric, value in by_class.get(name, {}).items()}
    metrics["absent"] = [name for name in classes if name not in by_class]
    return metrics


def _decision_metrics(
    labels: NDArray[np.str_], predicted: NDArray[np.str_], classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """F1, precision and recall of each class that has a cell."""
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    return {
        name: {"f1": float(f1[index]), "precision": float(precision[index]), "recall": float(recall[index])}
        for index, name in enumerate(classes)
        if support[index]
    }


def _probability_metrics(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> dict[str, float]:
    """What the probabilities of one class are worth against the rest; there is a positive cell at least."""
    found = {
        "pr_auc": float(average_precision_score(positive, scores)),
        "class_ece": expected_calibration_error(scores, positive),
        "brier": float(np.mean((scores - positive) ** 2)),
    }
    return found if positive.all() else found | {"auroc": float(roc_auc_score(positive, scores))}


def _mean(by_class: Mapping[str, Mapping[str, float]], metric: str) -> float:
    return float(np.mean([found[metric] for found in by_class.values() if metric in found]))


def _probability_columns(frame: pd.DataFrame) -> list[str]:
    return [str(column) for column in frame.columns if str(column).startswith(PROBABILITY_PREFIX)]


def _first(wrong: Any) -> int:
    return int(np.argmax(wrong)) + 1
