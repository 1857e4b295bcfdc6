"""`selection=global_threshold`: one threshold for all prototypes, in units of each one's spread."""

from __future__ import annotations

import numpy as np

from activessf.selection.budget import Pool
from activessf.selection.prototypes import distances
from activessf.selection.strategy import FloatArray, IntArray


def global_threshold(pool: Pool, budget: int, seed: int) -> IntArray:
    """The first of all candidates by distance relative to the spread of the nearest prototype; see `Choice`.

    One threshold in feature units would be `nearest`, and gives the budget to whichever prototype is tight. Here
    distance / spread is cut at one value, the quantile that meets the budget: what Eq. 8 would be if the size of a
    cluster had no part in it, and only its extent had.
    """
    spread = _spreads(pool)[pool.guided.prototype]
    chosen: IntArray = np.lexsort((pool.rank, pool.guided.distance / spread))[:budget]
    return chosen


def _spreads(pool: Pool) -> FloatArray:
    """Root mean square distance of the labeled members to their prototype, (K,).

    Each prototype is given one member more, at the distance that is typical of all: else the spread of one with a
    single cell would be 0.
    """
    members, centres = pool.guided.members, pool.guided.centres
    squares = distances(pool.labeled, centres)[np.arange(len(members)), members] ** 2
    sums = np.bincount(members, squares, minlength=len(centres))
    sizes = np.bincount(members, minlength=len(centres))
    spreads: FloatArray = np.sqrt((sums + squares.mean()) / (sizes + 1))
    return spreads if spreads.all() else np.ones(len(centres))
