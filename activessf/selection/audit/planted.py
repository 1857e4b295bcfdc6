"""The planted check: cells whose classes are known, but not to the selection, are put among the candidates.

It needs no truth about the candidates. The cells are those of the held-out fold, so no prototype was made from them,
and what is kept of them tells what is kept of unseen cells of their class. They may be planted as labeled boxes, or as
regions of stage 1 that show them, which are cut out as the candidates are. The selection that pretraining uses is
another run, without them.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from activessf.selection.strategy import FloatArray, Strategy

PLANTED = ("class", "rare", "planted", "kept", "recall", "right_prototype")
_CHUNK = 10_000


def planted_check(
    strategy: Strategy,
    labeled: FloatArray,
    labels: NDArray[np.str_],
    classes: Sequence[str],
    rare: Sequence[str],
    candidates: FloatArray,
    held_out: FloatArray,
    held_out_labels: NDArray[np.str_],
    seed: int,
    workspace: Path,
) -> pd.DataFrame:
    """Select once more, with the held-out cells among the candidates, and see which of them are kept.

    A strategy that keeps a number of candidates lets them compete for it.

    Args:
        strategy: Decides, as it did without them.
        labeled: Features of the labeled cells, (n, d).
        labels: Their classes, (n,).
        classes: All classes, in the order of tables.
        rare: Those to be marked as rare, which come first.
        candidates: Features of the candidates, (m, d); may be a memory map.
        held_out: Features of the held-out cells, or of regions that show them, (h, d).
        held_out_labels: Their classes, (h,).
        seed: Seed of whatever the strategy draws.
        workspace: A folder with room for the features of candidates and held-out cells, which are put there for the
            time of the check.

    Returns:
        One row a class, columns `PLANTED`: how many were planted and kept, the share kept, and the share whose nearest
        prototype has most of its members from their class; NaN where nothing was planted, or there are no prototypes.
    """
    with tempfile.TemporaryDirectory(dir=workspace, prefix=".planted-") as folder:
        joined = _joined(candidates, held_out, Path(folder) / "features.npy")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said when the selection was made
            decided = strategy.select(labeled, labels, list(classes), joined, seed)
        del joined
    kept, nearest = decided.kept[len(candidates) :], decided.prototype[len(candidates) :]
    right = np.full(len(held_out), np.nan)
    if len(decided.prototypes):
        composition = decided.prototypes.iloc[:, -len(classes) :].to_numpy(float)
        right = (np.array(classes)[composition.argmax(axis=1)][nearest] == held_out_labels).astype(float)
    rows = pd.DataFrame({"class": held_out_labels, "kept": kept.astype(float), "right_prototype": right})
    table = rows.groupby("class").agg(
        planted=("kept", "size"),
        kept=("kept", "sum"),
        recall=("kept", "mean"),
        right_prototype=("right_prototype", "mean"),
    )
    table = table.reindex(list(classes)).rename_axis("class").reset_index()
    table = table.assign(rare=table["class"].isin(list(rare))).fillna({"planted": 0, "kept": 0})
    table = table.astype({"planted": int, "kept": int})
    return table.sort_values("rare", ascending=False, kind="stable", ignore_index=True)[list(PLANTED)]


def _joined(candidates: FloatArray, held_out: FloatArray, path: Path) -> FloatArray:
    """Both in one array on disk: a million candidates are never copied in memory."""
    shape = len(candidates) + len(held_out), candidates.shape[1]
    if not all(shape):
        return np.zeros(shape, candidates.dtype)
    result = np.lib.format.open_memmap(path, "w+", candidates.dtype, shape)
    for start in range(0, len(candidates), _CHUNK):
        result[start : min(start + _CHUNK, len(candidates))] = candidates[start : start + _CHUNK]
    result[len(candidates) :] = held_out
    return result
