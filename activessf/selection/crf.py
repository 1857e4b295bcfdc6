"""`selection=crf`: cell region filtering alone; every candidate region is kept (the paper's Table III, +CRF)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from activessf.selection.strategy import FloatArray, Selection


@dataclass(frozen=True)
class AllRegions:
    """Keeps everything."""

    needs_features = False

    def select(
        self, labeled: FloatArray, labels: NDArray[np.str_], classes: list[str], candidates: FloatArray, seed: int
    ) -> Selection:
        """Choose among candidates; see `Strategy.select`."""
        return Selection.without_prototypes(np.ones(len(candidates), dtype=bool))
