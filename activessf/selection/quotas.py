"""Who gets how much of a budget: shares by weight, none beyond what there is, and who is nearest fills them."""

from __future__ import annotations

import numpy as np

from activessf.selection.strategy import FloatArray, IntArray


def allot(weights: FloatArray, available: IntArray, budget: int) -> IntArray:
    """Share a budget among groups in proportion to weights; what a group can't fill goes to the others likewise.

    That is min(available, t x weight) at the level t where the sum is the budget. With equal weights it is the n of
    arXiv 2405.15613 (section 3.4) for which the sum of min(n, size) over the clusters is the target.

    Args:
        weights: (G,), > 0; only their proportions matter.
        available: How much each group has, (G,).
        budget: The sum to reach; at most that of `available`.

    Returns:
        Whole quotas, (G,), that sum to the budget; of fractions the largest are rounded up, at a tie the first.
    """
    assert (weights > 0).all() and 0 <= budget <= available.sum()
    full_at = available / weights
    order = np.argsort(full_at, kind="stable")
    filled = np.concatenate([[0], np.cumsum(available[order])[:-1]])  # by the groups that are full before this one
    rest = np.cumsum(weights[order][::-1])[::-1]
    levels = (budget - filled) / rest
    reached = levels <= full_at[order]
    reached[-1] = True  # where the budget is all there is, but for rounding
    level = levels[np.argmax(reached)]
    exact = np.minimum(available, level * weights)
    quotas: IntArray = np.minimum(np.floor(exact + 1e-9), available).astype(int)
    fractions = np.where(quotas < available, exact - quotas, -np.inf)
    quotas[np.argsort(-fractions, kind="stable")[: budget - quotas.sum()]] += 1
    return quotas


def take(groups: IntArray, quotas: IntArray, order: IntArray) -> IntArray:
    """The first rows of every group, as many as its quota says.

    Args:
        groups: Group of each row, (m,), in 0 .. G-1.
        quotas: (G,).
        order: Rows in the order in which they are taken; those that are not in it are not taken.

    Returns:
        Row numbers.
    """
    by_group = order[np.argsort(groups[order], kind="stable")]
    counts = np.bincount(groups[by_group], minlength=len(quotas))
    place = np.arange(len(by_group)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen: IntArray = by_group[place < quotas[groups[by_group]]]
    return chosen
