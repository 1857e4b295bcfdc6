"""The metrics of one fold, from its predictions.csv and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, average_precision_score, precision_recall_fscore_support

from activessf.errors import InputError
from activessf.manifests import PREDICTIONS, PROBABILITY_PREFIX, read_table

Metrics = dict[str, float | int | list[str]]

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
    probabilities = _probabilities(frame)
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


def fold_metrics(predictions: pd.DataFrame) -> Metrics:
    """All metrics of one fold, flat, as fractions in 0..1.

    PR-AUC of a class is its one-vs-rest average precision. `pr_auc`, `f1`, `balanced_accuracy` are unweighted means
    over the classes that have a test cell in the fold; the others are listed under `absent`, have `support/<class>` 0
    and no other entry. Table II's PR-AUC is such a mean over Table I's classes.

    Args:
        predictions: One row a test cell: label, predicted, then p_<class> a class (see `check_predictions`).

    Returns:
        `cells` (their number), `accuracy`, `balanced_accuracy`, `f1`, `pr_auc`, then for each class `pr_auc/<class>`,
        `f1/<class>`, `precision/<class>`, `recall/<class>`, `support/<class>`, and `absent`.
    """
    classes = class_names(predictions)
    labels, predicted = predictions["label"].to_numpy(str), predictions["predicted"].to_numpy(str)
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    probabilities = _probabilities(predictions)
    present = [index for index in range(len(classes)) if support[index]]
    pr_auc = {index: average_precision_score(labels == classes[index], probabilities[:, index]) for index in present}

    metrics: Metrics = {
        "cells": len(predictions),
        "accuracy": float(accuracy_score(labels, predicted)),
        "balanced_accuracy": float(recall[present].mean()),
        "f1": float(f1[present].mean()),
        "pr_auc": float(np.mean(list(pr_auc.values()))),
    }
    for index, name in enumerate(classes):
        metrics[f"support/{name}"] = int(support[index])
        if index in pr_auc:
            metrics[f"pr_auc/{name}"] = float(pr_auc[index])
            metrics[f"f1/{name}"] = float(f1[index])
            metrics[f"precision/{name}"] = float(precision[index])
            metrics[f"recall/{name}"] = float(recall[index])
    metrics["absent"] = [name for index, name in enumerate(classes) if index not in pr_auc]
    return metrics


def _probability_columns(frame: pd.DataFrame) -> list[str]:
    return [str(column) for column in frame.columns if str(column).startswith(PROBABILITY_PREFIX)]


def _probabilities(frame: pd.DataFrame) -> np.ndarray:
    numbers = frame[_probability_columns(frame)].apply(pd.to_numeric, errors="coerce")
    return np.asarray(numbers, float)  # (cells, classes)


def _first(wrong: Any) -> int:
    return int(np.argmax(wrong)) + 1
