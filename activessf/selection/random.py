"""`selection=random`: the control that the paper lacks: as many regions as another strategy keeps, at random."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from activessf.selection.strategy import FloatArray, Selection, Strategy


@dataclass(frozen=True)
class RandomRegions:
    """Keeps as many candidates as `like` does, drawn without replacement.

    Attributes:
        like: The strategy whose number is kept.
    """

    like: Strategy

    needs_features = True

    def select(
        self, labeled: FloatArray, labels: NDArray[np.str_], classes: list[str], candidates: FloatArray, seed: int
    ) -> Selection:
        """Choose among candidates; see `Strategy.select`. Prototypes and distances are those of `like`."""
        guided = self.like.select(labeled, labels, classes, candidates, seed)
        drawn = np.random.default_rng(seed).permutation(len(candidates))[: int(guided.kept.sum())]
        kept = np.zeros(len(candidates), dtype=bool)
        kept[drawn] = True
        selected = np.bincount(guided.prototype[kept], minlength=len(guided.prototypes))
        return replace(guided, kept=kept, prototypes=guided.prototypes.assign(selected=selected))
