"""`selection=nearest`: the candidates nearest any prototype, whatever its subtype."""

from __future__ import annotations

import numpy as np

from activessf.selection.budget import Pool
from activessf.selection.strategy import IntArray


def nearest(pool: Pool, budget: int, seed: int) -> IntArray:
    """The first of all candidates by distance to the nearest prototype (Eq. 7); see `Choice`.

    The same as one threshold in feature units for all prototypes, set so that the budget is met.
    """
    chosen: IntArray = np.lexsort((pool.rank, pool.guided.distance))[:budget]
    return chosen
