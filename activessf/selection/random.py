"""`selection=random`: the control that the paper lacks: as many regions as another strategy keeps, at random."""

from __future__ import annotations

import numpy as np

from activessf.selection.budget import Pool
from activessf.selection.strategy import IntArray


def at_random(pool: Pool, budget: int, seed: int) -> IntArray:
    """Candidates drawn without replacement; see `Choice`."""
    drawn: IntArray = pool.order[np.random.default_rng(seed).permutation(len(pool.candidates))[:budget]]
    return drawn
