"""What a selection strategy is: labeled features and candidate features in, kept candidates out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Selection:
    """What a strategy decided about m candidates.

    Attributes:
        kept: Whether pretraining sees the candidate, (m,).
        prototype: Nearest prototype, (m,); -1 where the strategy has none.
        distance: Euclidean distance to the nearest prototype (Eq. 7), (m,), feature units; NaN where there is none.
        threshold: Threshold of the nearest prototype (Eq. 8), (m,), feature units; NaN where there is none.
        prototypes: One row a prototype, columns `manifests.PROTOTYPES` and one a class; empty where there is none.
    """

    kept: BoolArray
    prototype: IntArray
    distance: FloatArray
    threshold: FloatArray
    prototypes: pd.DataFrame

    @classmethod
    def without_prototypes(cls, kept: BoolArray) -> Selection:
        """A decision that no prototype had a part in."""
        nothing = np.full(len(kept), np.nan)
        return cls(kept, np.full(len(kept), -1), nothing, nothing, pd.DataFrame())


class Strategy(Protocol):
    """Decides which candidate regions pretraining sees."""

    needs_features: bool

    def select(
        self, labeled: FloatArray, labels: NDArray[np.str_], classes: list[str], candidates: FloatArray, seed: int
    ) -> Selection:
        """Choose among candidates.

        Args:
            labeled: Features of the labeled cells, (n, d); d = 0 where `needs_features` is false.
            labels: Their classes, (n,).
            classes: All classes, in the order of tables.
            candidates: Features of the candidates, (m, d).
            seed: Seed of whatever is random.
        """
        ...
