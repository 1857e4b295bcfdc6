"""`selection=class_balanced`: every prototype may keep equally many, its nearest first."""

from __future__ import annotations

import numpy as np

from activessf.selection.budget import Pool
from activessf.selection.quotas import allot, take
from activessf.selection.strategy import IntArray


def class_balanced(pool: Pool, budget: int, seed: int) -> IntArray:
    """An equal quota for every prototype, filled by distance; what one can't fill goes to the others; see `Choice`.

    With `like.prototypes=per_class` a quota is that of a subtype.
    """
    guided = pool.guided
    available = np.bincount(guided.prototype, minlength=len(guided.prototypes))
    quotas = allot(np.ones(len(available)), available, budget)
    return take(guided.prototype, quotas, np.lexsort((pool.rank, guided.distance)))
