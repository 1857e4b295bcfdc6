"""What a selection strategy is: labeled features and candidate features in, kept candidates out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]
BoolArray = NDArray[np.bool_]


def _no_centres() -> FloatArray:
    return np.zeros((0, 0))


def _no_members() -> IntArray:
    return np.zeros(0, int)


@dataclass(frozen=True)
class Selection:
    """What a strategy decided about m candidates.

    Attributes:
        kept: Whether pretraining sees the candidate, (m,).
        prototype: Nearest prototype, (m,); -1 where the strategy has none.
        distance: Euclidean distance to the nearest prototype (Eq. 7), (m,), feature units; NaN where there is none.
        threshold: Threshold of the nearest prototype (Eq. 8), (m,), feature units; NaN where there is none.
        prototypes: One row a prototype, columns `manifests.PROTOTYPES` and one a class; empty where there is none.
        centres: The prototypes themselves, (K, d); K = 0 where there is none.
        members: Prototype of each labeled cell, (n,), in 0 .. K-1; empty where there is none.
    """

    kept: BoolArray
    prototype: IntArray
    distance: FloatArray
    threshold: FloatArray
    prototypes: pd.DataFrame
    centres: FloatArray = field(default_factory=_no_centres)
    members: IntArray = field(default_factory=_no_members)

    @classmethod
    def without_prototypes(cls, kept: BoolArray) -> Selection:
        """A decision that no prototype had a part in."""
        nothing = np.full(len(kept), np.nan)
        return cls(kept, np.full(len(kept), -1), nothing, nothing, pd.DataFrame())

    def with_kept(self, rows: IntArray) -> Selection:
        """The same prototypes and distances, but these rows are kept; counted for their nearest prototypes."""
        kept = np.zeros(len(self.kept), dtype=bool)
        kept[rows] = True
        selected = np.bincount(self.prototype[kept], minlength=len(self.prototypes))
        return replace(self, kept=kept, prototypes=self.prototypes.assign(selected=selected))


class Strategy(Protocol):
    """Decides which candidate regions pretraining sees."""

    needs_features: bool

    def select(
        self, labeled: FloatArray, labels: NDArray[np.str_], classes: list[str], candidates: FloatArray, seed: int
    ) -> Selection:
        """Choose among candidates.

        What is chosen depends on the candidates alone, not on the order in which they come or on the number of threads.

        Args:
            labeled: Features of the labeled cells, (n, d); d = 0 where `needs_features` is false.
            labels: Their classes, (n,).
            classes: All classes, in the order of tables.
            candidates: Features of the candidates, (m, d); may be memory-mapped, and is read in chunks.
            seed: Seed of whatever is random.

        Raises:
            InputError: A feature is not finite, or a setting doesn't fit the cells.
        """
        ...
