"""Stratified five-fold cross-validation, by group (patient, slide, field) where groups are known."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from activessf.errors import InputError
from activessf.manifests import BOX

IntArray = NDArray[np.int64]


def assign_folds(cells: pd.DataFrame, num_folds: int, seed: int) -> pd.DataFrame:
    """The cells in canonical order (image, box) with a column `fold`, 0 .. num_folds - 1.

    A `split` column, where it is filled, gives the folds. Else they are stratified by label, and no joined group is in
    two folds where groups are known. The order of the given rows has no influence.

    Args:
        cells: Columns image, label, x, y, width, height, group ("" = unknown), joined_group (see
            `joined_groups.join_groups`), split ("" = not given).
        num_folds: Number of folds, >= 2.
        seed: Seed of the shuffling.

    Raises:
        InputError: Fewer cells or groups than folds, every class smaller than the number of folds, groups or splits
            given for some cells only, a split that is no fold number, or one that tears a group apart.
    """
    cells = cells.sort_values(["image", *BOX, "label"], kind="stable").reset_index(drop=True)
    if (cells["split"] != "").any():
        folds = _given_folds(cells["split"], num_folds)
        _check_groups(cells["group"], folds)
    else:
        _check_all_or_none(cells["group"])
        folds = _stratified_folds(cells["label"], cells["joined_group"], num_folds, seed)
    _report_thin_classes(cells["label"], folds, num_folds)
    return cells.drop(columns="split").assign(fold=folds)


def training_and_test(cells: pd.DataFrame, fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The labeled cells of the other folds, and those of `fold`."""
    in_test = cells["fold"] == fold
    return cells[~in_test], cells[in_test]


def unlabeled_pool(
    images: Sequence[str], cells: pd.DataFrame, fold: int, groups: Mapping[str, str] | None = None
) -> list[str]:
    """The images that pretraining may see: all but those that a test cell of `fold` comes from.

    A test cell comes from the image that its box lies in, and from the slide that its group names (by path or by file
    name without suffix), as where cell images were cut from slides long ago. So do all slides of its group (patient),
    as far as `groups` tells them.

    Args:
        images: All unlabeled images.
        cells: The labeled cells with their folds.
        fold: The fold that is tested.
        groups: Group of images, where known.
    """
    _, test = training_and_test(cells, fold)
    withheld = set(test["image"]) | (set(test["group"]) - {""})
    known = groups or {}
    return [
        image for image in images if withheld.isdisjoint((image, PurePosixPath(image).stem, known.get(image, image)))
    ]


def _given_folds(split: pd.Series[str], num_folds: int) -> IntArray:
    wanted = {str(fold) for fold in range(num_folds)}
    wrong = sorted(set(split) - wanted)
    if wrong:
        found = "an empty one" if wrong[0] == "" else repr(wrong[0])
        raise InputError(
            f"The split column must give every cell a fold number 0 to {num_folds - 1}; found {found}. "
            "Fill it for all cells, or leave the column out to have folds made."
        )
    unused = sorted(wanted - set(split))
    if unused:
        raise InputError(f"The split column puts no cell into fold {', '.join(unused)} of {num_folds}.")
    folds: IntArray = split.astype(int).to_numpy()
    return folds


def _check_groups(groups: pd.Series[str], folds: IntArray) -> None:
    known = groups != ""
    spread = pd.Series(folds[known]).groupby(groups[known].to_numpy()).nunique()
    if (spread > 1).any():
        torn = spread.index[spread > 1]
        raise InputError(
            f"The split column puts group {torn[0]!r} into {spread[torn[0]]} folds ({len(torn)} such groups); keep the "
            "cells of a patient or slide in one."
        )


def _check_all_or_none(groups: pd.Series[str]) -> None:
    known = groups != ""
    if known.any() and not known.all():
        raise InputError(
            f"{int((~known).sum())} of {len(groups)} cells have no group; "
            "give every cell its patient or slide, or give none."
        )


def _stratified_folds(labels: pd.Series[str], groups: pd.Series[str], num_folds: int, seed: int) -> IntArray:
    counts = labels.value_counts()
    if counts.max() < num_folds:
        raise InputError(
            f"No class has {num_folds} cells (the largest, {counts.index[0]!r}, has {counts.iloc[0]}), "
            f"so {num_folds} folds can't be made; label more cells or set data.num_folds lower."
        )
    if (groups == "").all():
        splitter: StratifiedKFold | StratifiedGroupKFold = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    else:
        if groups.nunique() < num_folds:
            raise InputError(
                f"{groups.nunique()} groups can't be spread over {num_folds} folds; "
                "set data.num_folds lower or give finer groups."
            )
        splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    folds = np.full(len(labels), -1)
    with warnings.catch_warnings():
        # Classes smaller than the number of folds: _report_thin_classes says it better.
        warnings.simplefilter("ignore", UserWarning)
        for fold, (_, test) in enumerate(splitter.split(np.zeros(len(labels)), labels, groups)):
            folds[test] = fold
    if len(np.unique(folds)) < num_folds:
        raise InputError(
            f"The groups are so uneven that a fold of {num_folds} stays empty; "
            "set data.num_folds lower or give finer groups."
        )
    return folds


def _report_thin_classes(labels: pd.Series[str], folds: IntArray, num_folds: int) -> None:
    presence = pd.crosstab(labels, folds).reindex(columns=range(num_folds), fill_value=0)
    for label, row in presence.iterrows():
        absent = [str(fold) for fold in range(num_folds) if row[fold] == 0]
        if absent:
            warnings.warn(
                f"Class {label!r} ({int(row.sum())} cells) has no test cell in fold {', '.join(absent)}; "
                "means over folds leave it out there.",
                stacklevel=3,
            )
