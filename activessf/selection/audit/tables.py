"""The tables of an audit: what prototypes stand for, which mix of subtypes was kept, how far it is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from activessf.selection.audit.decided import Decided
from activessf.selection.audit.truth import NOT_A_LABEL


def mix_table(decided: Decided) -> pd.DataFrame:
    """Subtype mix expected (of the labeled cells) and found, one row a class, rare ones first.

    Columns: `class`, `rare`; `labeled`, its number of labeled cells; `prototypes`, how many stand for it; `candidates`
    and `kept`, those whose nearest prototype stands for it; `true_candidates` and `true_kept`, those that truly are of
    the class, as far as is known. Each number but `prototypes` has a column `..._share`, of the sum over the classes.
    """
    kept, truth = decided.kept, decided.candidates["truth"].to_numpy(object)
    nearest = nearest_classes(decided)
    columns = {
        "labeled": decided.labeled,
        "candidates": _counts(nearest, decided.classes),
        "kept": _counts(nearest[kept], decided.classes),
        "true_candidates": _counts(truth, decided.classes),
        "true_kept": _counts(truth[kept], decided.classes),
    }
    table = pd.DataFrame({"class": decided.classes, "rare": np.isin(decided.classes, decided.rare)})
    table["prototypes"] = _counts(decided.prototypes["stands_for"].to_numpy(object), decided.classes)
    for name, numbers in columns.items():
        table[name] = numbers
        table[f"{name}_share"] = _shares(numbers, numbers.sum())
    return _rare_first(table)


def truth_table(decided: Decided) -> pd.DataFrame:
    """Precision and recall of the kept candidates by true label, rare classes first.

    Columns: `class`, `rare`, `candidates`, `kept`; `precision`, the share of the class among what is kept and has a
    known label; `recall`, the share of its candidates that is kept; `lift`, recall over that of all with a known label
    (above 1: the selection favours it); `new_candidates`, `new_kept`, `new_recall`, the same without the candidates
    that show labeled cells, from which the prototypes were made. Labels that are no class follow the classes, then
    candidates without a label, which have no precision and lift. Empty where no candidate has a known label.
    """
    truth = decided.candidates["truth"].to_numpy(object)
    known = ~np.isin(truth, NOT_A_LABEL)
    if not known.any():
        return pd.DataFrame(columns=_TRUTH_COLUMNS)
    others = sorted(set(truth[known]) - set(decided.classes))
    names = [*decided.classes, *others, *(name for name in NOT_A_LABEL if (truth == name).any())]
    kept, new = decided.kept, ~decided.candidates["seen"].to_numpy(bool)
    table = pd.DataFrame({"class": names, "rare": np.isin(names, decided.rare)})
    table["candidates"], table["kept"] = _counts(truth, names), _counts(truth[kept], names)
    table["new_candidates"], table["new_kept"] = _counts(truth[new], names), _counts(truth[new & kept], names)
    table["recall"] = _shares(table["kept"], table["candidates"])
    table["new_recall"] = _shares(table["new_kept"], table["new_candidates"])
    labeled = ~table["class"].isin(NOT_A_LABEL)
    table["precision"] = pd.Series(_shares(table["kept"], (kept & known).sum())).where(labeled)
    table["lift"] = pd.Series(_shares(table["recall"], (kept & known).sum() / known.sum())).where(labeled)
    return _rare_first(table[_TRUTH_COLUMNS])


_TRUTH_COLUMNS = [
    *("class", "rare", "candidates", "kept", "precision", "recall", "lift"),
    *("new_candidates", "new_kept", "new_recall"),
]


def summary(decided: Decided, truth: pd.DataFrame, planted: pd.DataFrame | None) -> dict[str, Any]:
    """The figures by which selections are compared; None where there is none.

    `purity` is the mean, over what is kept, of the nearest prototype's purity; `agreement` the share of what is kept
    and truly of a class whose nearest prototype stands for that class; the `rare_recall`s are unweighted means over
    the rare classes that have a candidate (a planted cell); `threshold` is the mean over prototypes.
    """
    kept, candidates = decided.kept, decided.candidates
    prototypes = decided.prototypes
    near = candidates["prototype"].to_numpy(int)[kept]
    purity = prototypes["purity"].to_numpy(float)[near].mean() if len(prototypes) and kept.any() else math.nan
    of_class = kept & candidates["truth"].isin(decided.classes).to_numpy(bool)
    right = nearest_classes(decided)[of_class] == candidates["truth"].to_numpy(object)[of_class]
    figures = {
        "purity": purity,
        "agreement": right.mean() if len(prototypes) and len(right) else math.nan,
        "threshold": prototypes["threshold"].mean() if len(prototypes) else math.nan,
        "rare_recall": mean_recall(truth, decided.rare, "recall"),
        "rare_new_recall": mean_recall(truth, decided.rare, "new_recall"),
        "rare_planted_recall": math.nan if planted is None else mean_recall(planted, decided.rare, "recall"),
        "planted_recall": math.nan if planted is None else mean_recall(planted, decided.classes, "recall"),
    }
    numbers = {"labeled": int(decided.labeled.sum()), "candidates": len(candidates), "kept": int(kept.sum())}
    return {**numbers, **{name: None if math.isnan(value) else float(value) for name, value in figures.items()}}


def mean_recall(table: pd.DataFrame, classes: Sequence[str], column: str) -> float:
    """Unweighted mean of a column over those of the classes that have a value; NaN where none has."""
    return float(table.loc[table["class"].isin(list(classes)), column].astype(float).mean())


def nearest_classes(decided: Decided) -> NDArray[np.object_]:
    """The class that each candidate's nearest prototype stands for, (m,); "" where there are no prototypes."""
    if not len(decided.prototypes):
        return np.full(len(decided.candidates), "", object)
    named: NDArray[np.object_] = decided.prototypes["stands_for"].to_numpy(object)
    return np.asarray(named[decided.candidates["prototype"].to_numpy(int)])


def _counts(values: NDArray[np.object_], names: Sequence[str]) -> NDArray[np.int64]:
    counts = pd.Series(values, dtype=object).value_counts().reindex(list(names), fill_value=0)
    return np.asarray(counts, np.int64)


def _shares(numbers: Any, total: Any) -> NDArray[np.float64]:
    """Numbers over a total or totals; NaN where that is 0."""
    whole = np.broadcast_to(np.asarray(total, float), np.shape(numbers))
    shares = np.divide(np.asarray(numbers, float), whole, out=np.full(np.shape(numbers), np.nan), where=whole > 0)
    return np.asarray(shares)


def _rare_first(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("rare", ascending=False, kind="stable", ignore_index=True)
