"""Confidence intervals of PR-AUC over the test cells of all folds together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from activessf.evaluation.bootstrap import resampled_average_precision, resampling_units
from activessf.evaluation.metrics import class_names, class_probabilities
from activessf.evaluation.runs import Run

LEVEL = 0.95
NUM_RESAMPLES = 1000
_SEED = 0


@dataclass(frozen=True)
class Interval:
    """An estimate from pooled test cells with its percentile interval, as fractions.

    Attributes:
        estimate: The value of all cells.
        lower: The 2.5th percentile of the resamples, NaN where there are none.
        upper: The 97.5th.
        resamples: Resamples that have a cell of the class, and so count.
    """

    estimate: float
    lower: float
    upper: float
    resamples: int


@dataclass(frozen=True)
class Pooled:
    """PR-AUC of a run's pooled test cells: `pr_auc` and `pr_auc/<class>` for the classes that have one.

    `pr_auc` is the mean over the classes that a resample has.

    Attributes:
        estimates: Of all cells.
        samples: Of each resample, (resamples,); none of fewer than two units.
        cells: Number of cells.
        units: Number of units that were drawn from.
        unit: What they are: "groups", "images" where no cell has a group, or "groups and images".
    """

    estimates: Mapping[str, float]
    samples: Mapping[str, NDArray[np.float64]]
    cells: int
    units: int
    unit: str

    def intervals(self) -> dict[str, Interval]:
        """The interval of each of the values."""
        return {metric: _interval(value, self.samples[metric]) for metric, value in self.estimates.items()}

    def minus(self, other: Pooled) -> dict[str, Interval]:
        """The interval of this minus `other`, which must be of the same cells: both are of the same draws."""
        return {
            metric: _interval(value - other.estimates[metric], self.samples[metric] - other.samples[metric])
            for metric, value in self.estimates.items()
            if metric in other.estimates
        }


def pooled_pr_auc(run: Run, folds: Sequence[int], num_resamples: int = NUM_RESAMPLES, seed: int = _SEED) -> Pooled:
    """PR-AUC of the test cells of some folds of a run, put together, with its bootstrap.

    The networks of different folds scale their probabilities differently, so that this is not the mean over folds.

    Args:
        run: The run.
        folds: Numbers of finished folds, one at least.
        num_resamples: Number of resamples.
        seed: Seed of the draws; the same for runs that are compared.
    """
    frame = pd.concat([run.folds[fold].predictions for fold in folds], ignore_index=True)
    labels = frame["label"].to_numpy(str)
    probabilities = np.nan_to_num(class_probabilities(frame))  # a network may lack a class that other folds have
    names, units = class_names(frame), resampling_units(frame)
    present = [index for index, name in enumerate(names) if (labels == name).any()]
    classes, probabilities = [names[index] for index in present], probabilities[:, present]
    num_units = len(np.unique(units))
    scores = [average_precision_score(labels == name, probabilities[:, index]) for index, name in enumerate(classes)]
    samples = resampled_average_precision(
        labels, probabilities, classes, units, num_resamples if num_units > 1 else 0, seed
    )
    by_class = {f"pr_auc/{name}": index for index, name in enumerate(classes)}
    return Pooled(
        {"pr_auc": float(np.mean(scores))} | {metric: float(scores[index]) for metric, index in by_class.items()},
        {"pr_auc": np.nanmean(samples, axis=1)} | {metric: samples[:, index] for metric, index in by_class.items()},
        len(frame),
        num_units,
        _unit(frame["group"] != ""),
    )


def _interval(estimate: float, samples: NDArray[np.float64]) -> Interval:
    known = samples[~np.isnan(samples)]
    if not len(known):
        return Interval(estimate, math.nan, math.nan, 0)
    lower, upper = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(estimate, float(lower), float(upper), len(known))


def _unit(grouped: pd.Series) -> str:
    return "groups" if grouped.all() else "groups and images" if grouped.any() else "images"
