"""What a selection decided, read back from its files and joined with what is known of the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from activessf.errors import InputError
from activessf.manifests import BOX, PROTOTYPES, SELECTION, read_table
from activessf.selection.audit.truth import UNKNOWN, true_labels
from activessf.selection.stage import PROTOTYPES_FILE, SELECTION_FILE


@dataclass(frozen=True)
class Decided:
    """The decision on every candidate, and the prototypes that it was made with.

    Attributes:
        candidates: One row a candidate: `image`, box, `crop`, `prototype` (-1: none), `distance`, `threshold`, `kept`
            (bool), `truth` (see `true_labels`), `seen` (bool: it shows a cell that the selection learnt from).
        prototypes: Columns `manifests.PROTOTYPES`, then `stands_for`: the class of most of its members; no rows where
            the selection has no prototypes.
        composition: Labeled members of each prototype by class, (K, C), columns `classes`.
        classes: All classes, in the order of tables.
        rare: Those that tables mark as rare.
        labeled: Number of labeled cells of each class, (C,).
    """

    candidates: pd.DataFrame
    prototypes: pd.DataFrame
    composition: NDArray[np.int64]
    classes: list[str]
    rare: list[str]
    labeled: NDArray[np.int64]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Whether each candidate is kept, (m,)."""
        kept: NDArray[np.bool_] = self.candidates["kept"].to_numpy(bool)
        return kept


def read_decided(
    folder: Path,
    regions: pd.DataFrame,
    cells: pd.DataFrame,
    truth: pd.DataFrame | None,
    classes: Sequence[str],
    rare: Sequence[str],
) -> Decided:
    """Read `selection.csv` and `prototypes.csv` of a selection.

    Args:
        folder: The result of stage 2.
        regions: All regions of stage 1, columns `manifests.REGIONS`.
        cells: The labeled cells that the selection learnt from: columns image, x, y, width, height, label.
        truth: The same columns for every cell whose class is known, those in `cells` among them, where more is known
            than the selection was told (made-up slides); None: `cells` is all that is known.
        classes: All classes, in the order of tables.
        rare: Those to be marked as rare.

    Raises:
        InputError: A file can't be read, a candidate is no region of `regions`, or the classes are others.
    """
    selection = read_table(folder / SELECTION_FILE, SELECTION)
    places = pd.Index(regions["crop"]).get_indexer(selection["crop"])
    if (places < 0).any():
        missing = selection["crop"].iloc[int((places < 0).argmax())]
        raise InputError(
            f"{folder} selects among other regions: {missing!r} is none of those given; run select.py again."
        )
    boxes = regions[["image", *BOX]].iloc[places].reset_index(drop=True)
    known = true_labels(boxes, cells if truth is None else truth)
    seen = np.isin(true_labels(boxes, cells), list(classes))
    candidates = boxes.assign(
        crop=selection["crop"],
        prototype=selection["prototype"].to_numpy(int),
        distance=selection["distance"].to_numpy(float),
        threshold=selection["threshold"].to_numpy(float),
        kept=selection["selected"].to_numpy(int) == 1,
        truth=known,
        seen=seen & (known != UNKNOWN),
    )
    prototypes, composition = _read_prototypes(folder, list(classes))
    counts = cells["label"].value_counts().reindex(list(classes), fill_value=0).to_numpy(np.int64)
    return Decided(candidates, prototypes, composition, list(classes), list(rare), counts)


def _read_prototypes(folder: Path, classes: list[str]) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    table = read_table(folder / PROTOTYPES_FILE, PROTOTYPES)
    # By position: a class may have the name of another column.
    found = table.iloc[:, len(PROTOTYPES) :]
    if found.shape[1] != len(classes):
        raise InputError(f"{folder / PROTOTYPES_FILE} counts {found.shape[1]} classes instead of {len(classes)}.")
    composition = found.to_numpy().astype(np.int64).reshape(len(table), len(classes))
    named = np.array(classes, object)
    stands_for = named[composition.argmax(axis=1)] if len(table) else np.empty(0, object)
    return table.iloc[:, : len(PROTOTYPES)].assign(stands_for=stands_for), composition
