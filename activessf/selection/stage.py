"""Stage 2 on files: features in, selection.csv and prototypes.csv out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from activessf.errors import InputError
from activessf.manifests import PROTOTYPES, SELECTION, read_table, write_table
from activessf.selection.strategy import FloatArray, Strategy

SELECTION_FILE = "selection.csv"
PROTOTYPES_FILE = "prototypes.csv"


def select_regions(
    strategy: Strategy,
    labeled: FloatArray,
    labels: NDArray[np.str_],
    classes: Sequence[str],
    crops: Sequence[str],
    candidates: FloatArray,
    seed: int,
    output: Path,
) -> None:
    """Write what `strategy` decides to `output/selection.csv` and `output/prototypes.csv`.

    Args:
        strategy: Decides.
        labeled: Features of the labeled cells, (n, d).
        labels: Their classes, (n,).
        classes: All classes, in the order of tables.
        crops: Candidate regions, m names.
        candidates: Their features, (m, d).
        seed: Seed of whatever the strategy draws.
        output: An existing folder.

    Raises:
        InputError: There are no candidates, or none is kept.
    """
    if not len(crops):
        raise InputError(
            "Stage 1 found no region in the slides that this fold may use; loosen the stain ranges or bounds "
            "(regions=...), or pretrain on whole slides (selection=none)."
        )
    decided = strategy.select(labeled, labels, list(classes), candidates, seed)
    if not decided.kept.any():
        raise InputError(
            f"None of the {len(crops)} candidate regions is selected: the smallest distance to a prototype is "
            f"{np.nanmin(decided.distance):.4g}, the thresholds lie between {np.nanmin(decided.threshold):.4g} and "
            f"{np.nanmax(decided.threshold):.4g}. Try a smaller alpha (selection.alpha), other "
            "bounds (selection.bounds=quantile), with bounds=fixed a larger selection.upper, or with activessf_plus a "
            "larger selection.abstain."
        )
    table = pd.DataFrame(
        {
            "crop": list(crops),
            "prototype": decided.prototype,
            "distance": decided.distance,
            "threshold": decided.threshold,
            "selected": decided.kept.astype(int),
        }
    )
    write_table(table[list(SELECTION)], output / SELECTION_FILE)
    prototypes = decided.prototypes if len(decided.prototypes) else pd.DataFrame(columns=[*PROTOTYPES, *classes])
    write_table(prototypes, output / PROTOTYPES_FILE)


def selected_crops(folder: Path) -> list[str]:
    """Names of the regions that a selection kept, in file order."""
    table = read_table(folder / SELECTION_FILE, SELECTION)
    return list(table.loc[table["selected"] == 1, "crop"])
