"""Labels that are hidden from all stages, as if they had never been given; only the audit of a selection knows them."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from activessf.data.source import Source
from activessf.errors import InputError
from activessf.manifests import BOX

_PARTS = 20


def hide_labels(source: Source, share: float, seed: int) -> Source:
    """The source with the labels of some groups hidden: their images are unlabeled slides like all others.

    So it is known of many candidates what they are, but not to the selection. Groups (patient, slide; an image where
    none are given) are hidden whole, chosen so that about the same share of every class is hidden. Of a
    class that would lose all its cells so, one group stays labeled.

    Args:
        source: With boxed cells.
        share: Share of the labeled cells to hide, 0 to below 1, in steps of a twentieth.
        seed: Seed of the choice.

    Raises:
        InputError: A share that can't be, cells without boxes, too few groups, or too few cells of every class.
    """
    number = isinstance(share, int | float) and not isinstance(share, bool)
    if not number or not 0 <= share < 1 or abs(share * _PARTS - round(share * _PARTS)) > 1e-9:
        raise InputError(
            f"hidden_labels={share} must be a share of the labels, 0 or more and below 1, in steps of {1 / _PARTS}."
        )
    if share == 0:
        return source
    cells = source.cells
    if cells[list(BOX)].isna().any(axis=None):
        raise InputError("hidden_labels needs boxed cells in slides: a cell image of its own shows nothing else.")
    groups = cells["group"].where(cells["group"] != "", cells["image"])
    if groups.nunique() < _PARTS:
        raise InputError(f"hidden_labels needs {_PARTS} groups (patients, slides); there are {groups.nunique()}.")
    most = int(cells["label"].value_counts().max())
    if most < _PARTS:
        raise InputError(f"hidden_labels needs a class of {_PARTS} cells at least; the largest has {most}.")
    hidden = _hidden_rows(cells["label"].to_numpy(str), groups.to_numpy(str), share, seed)
    told = cells[~hidden].reset_index(drop=True)
    truth = source.truth if source.truth is not None else cells[["image", "label", *BOX]]
    return replace(source, cells=told, truth=truth)


def _hidden_rows(labels: NDArray[np.str_], groups: NDArray[np.str_], share: float, seed: int) -> NDArray[np.bool_]:
    order = np.lexsort((labels, groups))  # whatever the order of the rows
    splitter = StratifiedGroupKFold(_PARTS, shuffle=True, random_state=seed)
    hidden = np.zeros(len(labels), bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes smaller than the number of parts
        parts = [test for _, test in splitter.split(order, labels[order], groups[order])]
    for part in parts[: round(share * _PARTS)]:
        hidden[order[part]] = True
    for name in np.unique(labels):
        own = labels == name
        if hidden[own].all():
            hidden[groups == min(groups[own])] = False
    return hidden
