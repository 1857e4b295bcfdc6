"""`selection=activessf`: the paper's Active Sample Selection (II.C, Algorithm 1)."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from activessf.errors import InputError
from activessf.manifests import PROTOTYPES
from activessf.selection.prototypes import (
    Prototypes,
    chunked_distances,
    distances,
    kmeans_prototypes,
    per_class_prototypes,
)
from activessf.selection.strategy import BoolArray, FloatArray, IntArray, Selection
from activessf.selection.thresholds import Bounds, distance_bounds, thresholds


@dataclass(frozen=True)
class ActiveSSF:
    """Keeps the candidates that lie within their prototype's distance threshold (Eq. 9).

    Attributes:
        alpha: Exponent of Eq. 8.
        bounds: Where LB and UB come from, see `distance_bounds`.
        lower: LB of `fixed` bounds, feature units.
        upper: UB of `fixed` bounds.
        lower_quantile: LB of `quantile` bounds, a share of the members.
        upper_quantile: UB of `quantile` bounds.
        assignment: `nearest`: a candidate is tested against its nearest prototype (Eq. 7, 9). `any`: against every
            prototype, and kept if one takes it (the loop of Algorithm 1).
        prototypes: `kmeans` over all labeled cells (the paper) or `per_class`.
        num_prototypes: K of `kmeans`; None = the number of classes (11 in the paper).
        prototypes_per_class: K within a class of `per_class`.
    """

    alpha: float
    bounds: Bounds
    lower: float
    upper: float
    lower_quantile: float
    upper_quantile: float
    assignment: Literal["nearest", "any"]
    prototypes: Literal["kmeans", "per_class"]
    num_prototypes: int | None
    prototypes_per_class: int

    needs_features = True

    def __post_init__(self) -> None:
        """Check the values, which come from a user's configuration."""
        if not _is_finite(self.alpha) or self.alpha < 0:
            raise InputError(f"selection.alpha={self.alpha} must be a number, 0 or more (Eq. 8).")
        for name in ("lower", "upper", "lower_quantile", "upper_quantile"):
            if not _is_finite(getattr(self, name)):
                raise InputError(f"selection.{name}={getattr(self, name)} must be a number.")
        for name, fits in (
            ("num_prototypes", self.num_prototypes is None or _is_count(self.num_prototypes)),
            ("prototypes_per_class", _is_count(self.prototypes_per_class)),
        ):
            if not fits:
                raise InputError(f"selection.{name}={getattr(self, name)} must be a whole number, 1 or more.")
        if self.assignment not in ("nearest", "any"):
            raise InputError(f"selection.assignment={self.assignment} is neither nearest nor any.")
        if self.prototypes not in ("kmeans", "per_class"):
            raise InputError(f"selection.prototypes={self.prototypes} is neither kmeans nor per_class.")

    def select(
        self, labeled: FloatArray, labels: NDArray[np.str_], classes: list[str], candidates: FloatArray, seed: int
    ) -> Selection:
        """Choose among candidates; see `Strategy.select`."""
        found = self._prototypes(labeled, labels, classes, seed)
        lower, upper = self._bounds(labeled, found)
        limits = thresholds(lower, upper, found.sizes, self.alpha)
        near = _near(candidates, found.centres, limits, self.assignment == "any")
        table = pd.DataFrame(
            {
                "prototype": np.arange(len(limits)),
                "size": found.sizes,
                "lower": lower,
                "upper": upper,
                "threshold": limits,
                "candidates": np.bincount(near.prototype, minlength=len(limits)),
                "selected": near.taken,
                **_composition(found, labels, classes),
            }
        )
        _report_singletons(found.sizes, self.bounds)
        return Selection(
            near.kept,
            near.prototype,
            near.distance,
            limits[near.prototype],
            table[[*PROTOTYPES, *classes]],
            found.centres,
            found.members,
        )

    def _prototypes(self, labeled: FloatArray, labels: NDArray[np.str_], classes: list[str], seed: int) -> Prototypes:
        if self.prototypes == "per_class":
            return per_class_prototypes(labeled, labels, classes, self.prototypes_per_class, seed)
        count = len(classes) if self.num_prototypes is None else self.num_prototypes
        return kmeans_prototypes(labeled, count, seed)

    def _bounds(self, labeled: FloatArray, found: Prototypes) -> tuple[FloatArray, FloatArray]:
        own_distances = distances(labeled, found.centres)[np.arange(len(labeled)), found.members]
        return distance_bounds(
            own_distances,
            found.members,
            len(found.centres),
            self.bounds,
            (self.lower, self.upper),
            (self.lower_quantile, self.upper_quantile),
        )


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


@dataclass(frozen=True)
class _Near:
    """Candidates against thresholds: nearest prototype and distance, kept or not, and how many each prototype took."""

    prototype: IntArray
    distance: FloatArray
    kept: BoolArray
    taken: IntArray


def _near(candidates: FloatArray, centres: FloatArray, limits: FloatArray, any_prototype: bool) -> _Near:
    num_candidates = len(candidates)
    result = _Near(
        np.empty(num_candidates, int),
        np.empty(num_candidates),
        np.empty(num_candidates, bool),
        np.zeros(len(centres), int),
    )
    for rows, away in chunked_distances(candidates, centres):
        nearest = away.argmin(axis=1)
        within = away <= limits  # (chunk, K)
        if not any_prototype:
            within &= nearest[:, None] == np.arange(len(centres))
        result.prototype[rows], result.distance[rows] = nearest, away.min(axis=1)
        result.kept[rows] = within.any(axis=1)
        result.taken[:] += within.sum(axis=0)
    return result


def _composition(found: Prototypes, labels: NDArray[np.str_], classes: list[str]) -> dict[str, FloatArray | IntArray]:
    """Purity (share of the commonest class among a prototype's labeled members), then members by class."""
    counts = {name: np.bincount(found.members[labels == name], minlength=len(found.centres)) for name in classes}
    most: IntArray = np.max(list(counts.values()), axis=0)
    return {"purity": most / found.sizes, **counts}


def _report_singletons(sizes: IntArray, bounds: Bounds) -> None:
    alone: BoolArray = sizes == 1
    if bounds == "cluster" and alone.any():
        warnings.warn(
            f"{int(alone.sum())} of {len(sizes)} prototypes have a single labeled cell, so that LB = UB = 0 and "
            "nothing passes there (selection.bounds=cluster); fewer prototypes, or other bounds, avoid that.",
            stacklevel=3,
        )
