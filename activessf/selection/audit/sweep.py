"""Audits set side by side: how many are kept, how many of the rare ones, how purely, against alpha and threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from activessf.artifacts import fingerprint
from activessf.errors import InputError
from activessf.manifests import read_json, read_table
from activessf.selection.audit.page import MIX_FILE, PLANTED_FILE, SUMMARY_FILE, TRUTH_FILE, flat
from activessf.selection.audit.truth import NOT_A_LABEL

FIGURES = (
    *("kept", "rare_recall", "rare_new_recall", "rare_planted_recall", "planted_recall", "purity", "agreement"),
    *("strangers", "threshold"),
)
_COUNTS = ("kept", "candidates")
_FACTS = ("data", "selection", "fold", "seed", "folder")


@dataclass(frozen=True)
class Sweep:
    """Audits that may be compared: of the same data, regions, folds, features and seed.

    Attributes:
        name: As a file name.
        title: As a heading.
        rows: One row an audit: `data`, `selection`, `fold`, `seed`, `folder`, `series` (the selection with those of
            its settings that vary, alpha left out), `alpha` (NaN: there is none), `candidates`, the columns `FIGURES`,
            every setting of the strategy as `strategy.<key>`, and by class `kept/<class>`, `recall/<class>`,
            `new_recall/<class>`, `planted/<class>` (NaN: not known).
        classes: All classes.
        rare: Those marked as rare.
    """

    name: str
    title: str
    rows: pd.DataFrame
    classes: list[str]
    rare: list[str]


def read_sweeps(folder: Path, data: str | None = None, folds: Sequence[int] | None = None) -> list[Sweep]:
    """All audits below a folder, those that may be compared together; in the order of their titles.

    A selection that does not look at features (such as crf) is compared with those of all features.

    Args:
        folder: Folder of audits, searched one level deep.
        data: Only those of this data.
        folds: Only those of these folds.

    Raises:
        InputError: There is no audit, or none of what was asked for, or a file can't be used.
    """
    found = [path.parent for path in sorted(folder.glob(f"*/{SUMMARY_FILE}"))]
    audits = [(path, read_json(path / SUMMARY_FILE)) for path in found]
    if not audits:
        raise InputError(f"{folder} holds no audit of a selection; run select.py first, or give another --output.")
    chosen = [
        (path, facts)
        for path, facts in audits
        if data in (None, facts["data"]) and (folds is None or facts["fold"] in folds)
    ]
    if not chosen:
        there = sorted({f"{facts['data']}, fold {facts['fold']}" for _, facts in audits})
        raise InputError(f"No audit in {folder} is of what was asked for; there are {'; '.join(there)}.")
    # A selection may have been audited twice, with a page and without.
    once = {(facts["folder"], fingerprint(facts["among"])): (path, facts) for path, facts in chosen}
    return _told_apart([_sweep(part) for part in _comparable(list(once.values()))])


def means(sweep: Sweep, columns: Sequence[str] = FIGURES) -> pd.DataFrame:
    """Mean and sample standard deviation over folds and seeds of each series and alpha.

    Returns:
        Columns `series`, `alpha`, `folds` (number of audits), and for each of `columns` `<column>` and `<column>_sd`,
        NaN for a single audit; sorted by series and alpha.
    """
    groups = sweep.rows.groupby(["series", "alpha"], dropna=False, sort=True)
    table = groups.size().rename("folds").to_frame()
    for column in columns:
        table[column], table[f"{column}_sd"] = groups[column].mean(), groups[column].std(ddof=1)
    return table.reset_index()


def _comparable(audits: Sequence[tuple[Path, dict[str, Any]]]) -> list[list[tuple[Path, dict[str, Any]]]]:
    groups: dict[str, dict[str, list[tuple[Path, dict[str, Any]]]]] = {}
    for path, facts in audits:
        shared = {key: value for key, value in facts["among"].items() if key != "features"}
        rest = fingerprint([facts["data"], facts["seed"], shared])
        groups.setdefault(rest, {}).setdefault(fingerprint(facts["among"].get("features")), []).append((path, facts))
    nothing = fingerprint(None)
    parts = []
    for group in groups.values():
        without = group.get(nothing, [])
        parts += [part + without for key, part in group.items() if key != nothing] or [without]
    return sorted(parts, key=lambda part: (_title(part), str(part[0][0])))


def _told_apart(sweeps: Sequence[Sweep]) -> list[Sweep]:
    """The sweeps, those with equal titles (other truth or hidden labels, say) with their names behind them."""
    titles = [sweep.title for sweep in sweeps]
    return [
        replace(sweep, title=f"{sweep.title} [{sweep.name}]") if titles.count(sweep.title) > 1 else sweep
        for sweep in sweeps
    ]


def _sweep(audits: Sequence[tuple[Path, dict[str, Any]]]) -> Sweep:
    rows = pd.DataFrame([_row(path, facts) for path, facts in audits])
    rows["series"] = _series(rows)
    first = audits[0][1]
    name = f"{first['data']}-{fingerprint([first['data'], first['seed'], first['among']])[:8]}"
    ordered = rows.sort_values(["series", "alpha", "fold"], kind="stable", ignore_index=True)
    return Sweep(name, _title(audits), ordered, first["classes"], first["rare"])


def _title(audits: Sequence[tuple[Path, dict[str, Any]]]) -> str:
    facts = audits[0][1]
    shared = {key: facts["among"].get(key) for key in ("features", "scope", "regions")} | {"seed": facts["seed"]}
    among = ", ".join(f"{key} {_spelled(value)}" for key, value in shared.items() if value is not None)
    return f"{facts['data']}: {among}"


def _spelled(value: Any) -> str:
    return str(value.get("model_name", "of its own")) if isinstance(value, Mapping) else str(value)


def _row(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    settings = flat(facts["strategy"])
    # A rival with a budget of its own takes prototypes from `like`, not thresholds.
    alphas = [
        value
        for key, value in settings.items()
        if key.split(".")[-1] == "alpha" and not (key.startswith("like.") and settings.get("budget") is not None)
    ]
    row = {key: facts[key] for key in (*_FACTS, *_COUNTS, *FIGURES) if key in facts}
    row |= {"alpha": float(alphas[0]) if alphas else math.nan}
    # As text: in a column with numbers, pandas would make NaN of null and 300.0 of 300.
    texts = {key: "null" if value is None else str(value) for key, value in settings.items()}
    row |= {f"strategy.{key}": text for key, text in texts.items() if not key.endswith("_target_")}
    truth, mix = read_table(path / TRUTH_FILE, ["class", "kept"]), read_table(path / MIX_FILE, ["class", "true_kept"])
    row |= {"strangers": _strangers(truth, facts["classes"])}
    row |= {f"kept/{name}": count for name, count in zip(mix["class"], mix["true_kept"], strict=True)}
    for column in ("recall", "new_recall"):
        row |= _by_class(truth, facts["classes"], column, column)
    if (path / PLANTED_FILE).is_file():
        row |= _by_class(read_table(path / PLANTED_FILE, ["class"]), facts["classes"], "recall", "planted")
    return row


def _strangers(truth: pd.DataFrame, classes: list[str]) -> float:
    """Share of what is kept and has a known label that is of no class; NaN where no such label is known."""
    known = truth[~truth["class"].isin(NOT_A_LABEL)]
    others = ~known["class"].isin(classes)
    kept = known["kept"].astype(float)
    return float(kept[others].sum() / kept.sum()) if others.any() and kept.sum() else math.nan


def _by_class(table: pd.DataFrame, classes: list[str], column: str, name: str) -> dict[str, float]:
    values = pd.to_numeric(table.set_index("class")[column], errors="coerce").reindex(classes)
    return {f"{name}/{key}": float(value) for key, value in values.items()}


def _series(rows: pd.DataFrame) -> pd.Series[str]:
    """The selection's name, and those of its settings that vary among its rows, alpha left out."""
    series = rows["selection"].astype(str)
    settings = [name for name in rows if name.startswith("strategy.") and name.split(".")[-1] != "alpha"]
    for _, own in rows.groupby("selection"):
        for name in settings:
            texts = own[name].map(str)
            if texts.nunique() > 1:
                series[own.index] += " " + name.removeprefix("strategy.") + "=" + texts
    return series
