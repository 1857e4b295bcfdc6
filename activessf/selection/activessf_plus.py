"""`selection=activessf_plus`, ours: subtypes in the shares that are asked for, without copies and strangers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from activessf.errors import InputError
from activessf.selection.activessf import ActiveSSF
from activessf.selection.budget import check_budget
from activessf.selection.compact import compact
from activessf.selection.duplicates import first_of_each, typical_distance
from activessf.selection.prototypes import Prototypes, leave_one_out_distances
from activessf.selection.quotas import allot, take
from activessf.selection.rows import canonical_order
from activessf.selection.strategy import BoolArray, FloatArray, IntArray, Selection

Target = Literal["natural", "balanced"]


@dataclass(frozen=True)
class ActiveSSFPlus:
    """Active Sample Selection with three parts more, each of which can be left out.

    1. Abstention: what is farther from every prototype than nearly all labeled cells would be, had they not been
       labeled, is no known subtype and never kept.
    2. De-duplication: of near-identical crops the one nearest its prototype is left.
    3. Target: the mix of subtypes that is kept. A candidate counts for the commonest class of its nearest prototype.

    Without a budget, kept is what passes the thresholds of `base`, and the target only thins it: no subtype keeps more
    than its share of what passes. With a budget, as many are kept, nearest first within each subtype, those within the
    thresholds before those beyond; a subtype that hasn't enough leaves the rest to the others.

    Attributes:
        base: Prototypes and thresholds; `per_class` and `quantile` in the configuration.
        target: `natural`: the mix of the labeled cells. `balanced`: equal shares. A number in 0-1: between them, 0
            being natural. None: no part of it.
        deduplicate: Crops nearer together than this share of the labeled cells' typical nearest-neighbour distance are
            copies. None: no part of it.
        abstain: The share of labeled cells whose distance is no reason to abstain (a quantile of their leave-one-out
            distances to the nearest prototype). None: no part of it.
        budget: How many are kept; None = those that pass.
    """

    base: ActiveSSF
    target: Target | float | None
    deduplicate: float | None
    abstain: float | None
    budget: int | None

    needs_features = True

    def __post_init__(self) -> None:
        """Check the values, which come from a user's configuration."""
        if self.target not in ("natural", "balanced", None) and not _is_share(self.target):
            raise InputError(f"selection.target={self.target} must be natural, balanced, a number in 0-1, or null.")
        if self.deduplicate is not None and not _is_share(self.deduplicate):
            raise InputError(f"selection.deduplicate={self.deduplicate} must be null or a share in 0-1.")
        if self.abstain is not None and not _is_share(self.abstain):
            raise InputError(f"selection.abstain={self.abstain} must be null or a share in 0-1.")
        check_budget(self.budget)

    def select(
        self, labeled: FloatArray, labels: NDArray[np.str_], classes: list[str], candidates: FloatArray, seed: int
    ) -> Selection:
        """Choose among candidates; see `Strategy.select`. Thresholds are those of `base`, or nearer by abstention."""
        guided = self.base.select(labeled, labels, classes, candidates, seed)
        limit = self._limit(labeled, guided)
        guided = _abstaining(guided, limit)
        eligible = guided.kept if self.budget is None else guided.distance <= limit
        order = _nearest_first(guided, eligible, canonical_order(candidates))
        if self.deduplicate is not None:
            order = _without_copies(labeled, candidates, order, self.deduplicate, seed)
        return guided.with_kept(self._mixed(guided, classes, order))

    def _limit(self, labeled: FloatArray, guided: Selection) -> float:
        """The distance beyond which a candidate is like no labeled cell."""
        if self.abstain is None:
            return np.inf
        away = leave_one_out_distances(labeled, Prototypes(guided.centres, guided.members))
        return float(np.quantile(away, self.abstain, method="lower"))  # no mean with an infinite distance

    def _mixed(self, guided: Selection, classes: list[str], order: IntArray) -> IntArray:
        """Of rows in order of preference, those that the target and the budget leave."""
        subtypes = guided.prototypes[classes].to_numpy()
        own = subtypes.argmax(axis=1)[guided.prototype]  # class of each candidate
        available = np.bincount(own[order], minlength=len(classes))
        budget = len(order) if self.budget is None else min(self.budget, len(order))
        if self.budget is not None and budget < self.budget:
            warnings.warn(
                f"Only {budget} candidates are left for selection.budget={self.budget}; all are kept. A larger "
                "selection.abstain or a smaller selection.deduplicate leaves more.",
                stacklevel=3,
            )
        if self.target is None:
            return order[:budget]
        shares = _target_shares(self.target, subtypes.sum(axis=0), subtypes.argmax(axis=1))
        if self.budget is None:
            return take(own, np.ceil(shares * budget - 1e-9).astype(int), order)
        there = shares > 0
        quotas = np.zeros(len(classes), int)
        quotas[there] = allot(shares[there], available[there], budget)
        return take(own, quotas, order)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _abstaining(guided: Selection, limit: float) -> Selection:
    """The same selection, but that nothing beyond the limit is kept."""
    table = guided.prototypes.assign(threshold=np.minimum(guided.prototypes["threshold"], limit))
    kept: BoolArray = guided.kept & (guided.distance <= limit)
    return replace(guided, kept=kept, threshold=np.minimum(guided.threshold, limit), prototypes=table)


def _nearest_first(guided: Selection, eligible: BoolArray, canonical: IntArray) -> IntArray:
    """Eligible rows: those that pass before those that don't, nearer ones first."""
    rows = canonical[eligible[canonical]]
    return rows[np.lexsort((guided.distance[rows], ~guided.kept[rows]))]


def _without_copies(labeled: FloatArray, candidates: FloatArray, order: IntArray, share: float, seed: int) -> IntArray:
    """The rows in `order` that are no copy of one before them."""
    with threadpool_limits(1):  # sums of threads come in an order of their own
        cells, points = compact(labeled, candidates, order, seed)
        radius = share * typical_distance(cells)
        return order[first_of_each(points, np.arange(len(order)), radius, seed)]


def _target_shares(target: Target | float, labeled: IntArray, subtypes: IntArray) -> FloatArray:
    """Share of each class among what is kept, (C,), summing to 1; 0 for a class that no prototype stands for.

    Args:
        target: See `ActiveSSFPlus`.
        labeled: Labeled cells of each class, (C,).
        subtypes: The class that each prototype stands for, (K,).
    """
    there = np.isin(np.arange(len(labeled)), subtypes)
    balance = {"natural": 0.0, "balanced": 1.0}[target] if isinstance(target, str) else target
    natural = np.where(there, labeled, 0) / labeled[there].sum()
    shares: FloatArray = balance * there / there.sum() + (1 - balance) * natural
    return shares
