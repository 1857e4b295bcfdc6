"""Groups that show the same cell are one group to the folds: fields that overlap, a slide that is there twice.

Folds by group can't know that two groups hold one cell. Joined before folds are made, they never tear it apart.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from activessf.errors import InputError

_SHOWN = 3


def join_groups(cells: pd.DataFrame, duplicates: pd.DataFrame) -> pd.Series[str]:
    """The group that each cell's fold is to keep whole: its own, or the first of those that are joined to it.

    Two groups are joined if a cell of one shows the same as a cell of the other; so are those that a third one joins.
    A cell whose group is unknown stands for itself, by the name of its image.

    Args:
        cells: Columns image, group ("" = unknown), crop.
        duplicates: See `near_duplicates.find_duplicates`.

    Returns:
        One name a row; just the column `group` where nothing is to be joined, so that folds stay what they were.
    """
    numbers, names = pd.factorize(_own_groups(cells), sort=True)
    sets = cells["crop"].map(duplicates.set_index("crop")["set"])
    known = sets.notna().to_numpy()
    # A graph of groups and sets, with an edge for every cell that is in both.
    size = len(names) + int(duplicates["set"].max() + 1 if len(duplicates) else 0)
    edges = (numbers[known], len(names) + sets[known].to_numpy(int))
    _, parts = connected_components(coo_matrix((np.ones(len(edges[0])), edges), shape=(size, size)), directed=False)
    first = pd.Series(range(len(names))).groupby(parts[: len(names)]).transform("min").to_numpy()
    if (first == np.arange(len(names))).all():
        return cells["group"]
    return pd.Series(names[first[numbers]], index=cells.index, dtype=object)


def joined_members(cells: pd.DataFrame) -> list[list[str]]:
    """The groups that are joined, set by set, each sorted; images stand for cells whose group is unknown.

    Args:
        cells: Columns image, group, joined_group.
    """
    pairs = pd.DataFrame({"own": _own_groups(cells), "joined": cells["joined_group"]}).drop_duplicates()
    members = pairs[pairs["joined"] != ""].groupby("joined", sort=True)["own"].agg(sorted)
    return [list(names) for names in members if len(names) > 1]


def joined_sentence(cells: pd.DataFrame) -> str:
    """Which groups were joined, in a sentence; empty where none were.

    Args:
        cells: Columns image, group, joined_group.
    """
    members = joined_members(cells)
    if not members:
        return ""
    what = "groups" if (cells["group"] != "").any() else "cells"
    shown = "; ".join(_listed(names) for names in members[:_SHOWN])
    more = f"; and {len(members) - _SHOWN} more" if len(members) > _SHOWN else ""
    return (
        f"{sum(map(len, members))} {what} show the same as another one, exactly or nearly, and are kept together in "
        f"folds as {len(members)} ({shown}{more}); data.join_duplicates=false leaves them apart."
    )


def check_joined(cells: pd.DataFrame, largest_share: float) -> None:
    """Refuse groups that were joined into one that is too large to test on: a chain of look-alikes, most likely.

    Args:
        cells: Columns image, group, joined_group.
        largest_share: Of all cells, that a joined group may hold.

    Raises:
        InputError: One holds more.
    """
    for names in joined_members(cells):
        share = float(cells["joined_group"].eq(names[0]).mean())
        if share > largest_share:
            what = "groups" if (cells["group"] != "").any() else "cells"
            raise InputError(
                f"{len(names)} {what} that show the same as one another ({_listed(names)}) would be one group of "
                f"{100 * share:.1f} % of all cells, more than data.largest_joined_group={largest_share:g}: remove the "
                "copies or blank images among them, allow a larger one, or leave them apart by "
                "data.join_duplicates=false."
            )


def _own_groups(cells: pd.DataFrame) -> pd.Series[str]:
    return cells["group"].where(cells["group"] != "", cells["image"])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return " with ".join(map(repr, names[:_SHOWN])) + more
