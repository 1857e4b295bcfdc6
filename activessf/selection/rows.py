"""Features in bulk: read a chunk at a time, and put into an order that is theirs and not the file's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from activessf.selection.strategy import FloatArray, IntArray

_VALUES = 2**22  # in a chunk; 32 MiB as float64


def chunks(features: FloatArray) -> Iterator[slice]:
    """Slices of rows that together make up all, each of a size that is no matter to memory."""
    size = max(1, _VALUES // max(1, features.shape[1]))
    for start in range(0, len(features), size):
        yield slice(start, min(start + size, len(features)))


def canonical_order(features: FloatArray) -> IntArray:
    """The row numbers, (m,), in an order that depends on the features alone.

    Rows are ordered by a hash of their bytes. Ties, starts of K-means and random draws go by this order, so that what
    is chosen doesn't depend on the order of the slides. Equal rows, which nothing can tell apart, stay as they come.
    """
    keys = np.empty(len(features), np.uint64)
    for rows in chunks(features):
        for number, row in enumerate(np.ascontiguousarray(features[rows]), start=rows.start):
            keys[number] = int.from_bytes(hashlib.sha1(row, usedforsecurity=False).digest()[:8], "little")
    return np.argsort(keys, kind="stable")
