"""What a run keeps beside its predictions so that leaks can be looked for: what it was trained on, in small tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from activessf.artifacts import INPUTS_FILE
from activessf.data.near_duplicates import SPANNING
from activessf.errors import InputError
from activessf.manifests import PROTOTYPES, read_json, read_table, write_json, write_table
from activessf.selection.stage import PROTOTYPES_FILE

EVIDENCE_FOLDER = "evidence"

TRAINING = ("image", "group", "label", "cells")
PRETRAINING = ("image", "group", "images")

_TRAINING_FILE = "training_cells.csv"
_PRETRAINING_FILE = "pretraining_images.csv"
_DUPLICATES_FILE = "duplicates.csv"
_SELECTION_FILE = "selection.json"


@dataclass(frozen=True)
class Evidence:
    """What one fold of a run was trained on.

    Attributes:
        training: Images that its training cells come from, columns `TRAINING`.
        pretraining: Slides that its pretraining images come from, columns `PRETRAINING`; None without a pretraining.
        selection: What its selection was made from (its inputs.json); None where nothing was selected.
        prototypes: Its prototypes; empty where the selection has none, None where nothing was selected.
        duplicates: Sets of like cells on both sides of the fold's border, columns `near_duplicates.SPANNING`.
    """

    training: pd.DataFrame
    pretraining: pd.DataFrame | None
    selection: Mapping[str, Any] | None
    prototypes: pd.DataFrame | None
    duplicates: pd.DataFrame


def write_evidence(
    folder: Path,
    fold: int,
    training: pd.DataFrame,
    pretraining: pd.DataFrame | None,
    selection: Path | None,
    spanning: pd.DataFrame,
) -> None:
    """Write `evidence/` into the folder of a run.

    Args:
        folder: An existing folder.
        fold: The fold that is tested.
        training: Training cells, columns image, group and label at least.
        pretraining: The slide of each pretraining image and its group, columns image and group.
        selection: The folder of the selection.
        spanning: Like cells of different folds, see `near_duplicates.spanning_folds`.
    """
    output = folder / EVIDENCE_FOLDER
    write_table(_counted(training, TRAINING), output / _TRAINING_FILE)
    if pretraining is not None:
        write_table(_counted(pretraining, PRETRAINING), output / _PRETRAINING_FILE)
    if selection is not None:
        write_json(read_json(selection / INPUTS_FILE), output / _SELECTION_FILE)
        write_table(read_table(selection / PROTOTYPES_FILE, PROTOTYPES), output / PROTOTYPES_FILE)
    tested = spanning.groupby("set")["fold"].transform(lambda folds: (folds == fold).any()).astype(bool)
    write_table(spanning[tested], output / _DUPLICATES_FILE)


def read_evidence(folder: Path) -> Evidence | None:
    """The evidence in a run's folder; None if there is none, as in runs of earlier versions.

    Raises:
        InputError: A file of it can't be used.
    """
    place = folder / EVIDENCE_FOLDER
    if not place.is_dir():
        return None
    selection = read_json(place / _SELECTION_FILE) if (place / _SELECTION_FILE).is_file() else None
    if not (selection is None or isinstance(selection, dict)):
        raise InputError(f"{place / _SELECTION_FILE} is not what train.py writes; delete that fold's folder.")
    pretrained = (place / _PRETRAINING_FILE).is_file()
    return Evidence(
        read_table(place / _TRAINING_FILE, TRAINING),
        read_table(place / _PRETRAINING_FILE, PRETRAINING) if pretrained else None,
        selection,
        read_table(place / PROTOTYPES_FILE, PROTOTYPES) if selection is not None else None,
        read_table(place / _DUPLICATES_FILE, SPANNING),
    )


def _counted(rows: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    *names, number = columns
    return rows.groupby(names, sort=True).size().rename(number).reset_index()
