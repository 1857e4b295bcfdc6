"""Rivals at equal budget: as many candidates as another strategy keeps, but chosen in another way."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from activessf.errors import InputError
from activessf.selection.rows import canonical_order
from activessf.selection.strategy import FloatArray, IntArray, Selection, Strategy


@dataclass(frozen=True)
class Pool:
    """What a rival chooses from.

    Attributes:
        labeled: Features of the labeled cells, (n, d).
        labels: Their classes, (n,).
        classes: All classes.
        candidates: Features of the candidates, (m, d); may be memory-mapped.
        guided: What the strategy decided whose number is kept: nearest prototypes and distances too.
    """

    labeled: FloatArray
    labels: NDArray[np.str_]
    classes: list[str]
    candidates: FloatArray
    guided: Selection

    @cached_property
    def order(self) -> IntArray:
        """The candidates' row numbers in an order that doesn't depend on how they come, (m,)."""
        return canonical_order(self.candidates)

    @cached_property
    def rank(self) -> IntArray:
        """Place of each candidate in `order`, (m,): what decides where two are equal."""
        rank = np.empty(len(self.order), int)
        rank[self.order] = np.arange(len(self.order))
        return rank


class Choice(Protocol):
    """A rival: which candidates it would keep if it may keep so many."""

    def __call__(self, pool: Pool, budget: int, seed: int) -> IntArray:
        """Row numbers of the candidates that are kept.

        Args:
            pool: Labeled cells and candidates.
            budget: How many, 1 to the number of candidates less one.
            seed: Seed of whatever is random.
        """
        ...


@dataclass(frozen=True)
class AtBudgetOf:
    """Keeps as many candidates as `like` does, or `budget`, by another `choice`.

    Prototypes, distances and thresholds are those of `like`, so that selections can be compared line by line.

    Attributes:
        like: The strategy whose number is kept.
        choice: Who is kept.
        budget: How many; None = as many as `like` keeps.
    """

    like: Strategy
    choice: Choice
    budget: int | None

    needs_features = True

    def __post_init__(self) -> None:
        """Check the budget, which comes from a user's configuration."""
        check_budget(self.budget)
        if not hasattr(self.like, "select"):
            raise InputError(
                f"selection.like={self.like} is no strategy; change its settings (selection.like.alpha=1), or name "
                "another by selection/strategy@selection.like=activessf_plus."
            )

    def select(
        self, labeled: FloatArray, labels: NDArray[np.str_], classes: list[str], candidates: FloatArray, seed: int
    ) -> Selection:
        """Choose among candidates; see `Strategy.select`."""
        guided = self.like.select(labeled, labels, classes, candidates, seed)
        budget = int(guided.kept.sum()) if self.budget is None else self.budget
        if budget > len(candidates):
            warnings.warn(
                f"selection.budget={budget} is more than the {len(candidates)} candidates; all are kept.", stacklevel=2
            )
        if budget == 0 or budget >= len(candidates):
            return guided.with_kept(np.arange(min(budget, len(candidates))))
        with threadpool_limits(1):  # sums of threads come in an order of their own
            kept = self.choice(Pool(labeled, labels, classes, candidates, guided), budget, seed)
        assert len(np.unique(kept)) == budget
        return guided.with_kept(kept)


def check_budget(budget: int | None) -> None:
    """Refuse a budget that is no number of candidates.

    Raises:
        InputError: It is neither null nor a whole number, 1 or more.
    """
    if budget is not None and (not isinstance(budget, int) or isinstance(budget, bool) or budget < 1):
        raise InputError(f"selection.budget={budget} must be null or a whole number, 1 or more.")
