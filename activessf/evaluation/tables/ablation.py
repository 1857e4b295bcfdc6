"""The ablation (Table III): a Vision Transformer, pretraining, cell region filtering (CRF), active selection (ASS)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from activessf.evaluation.comparisons import METRICS, paired_folds
from activessf.evaluation.published.numbers import row_of, table_3
from activessf.evaluation.runs import Run
from activessf.evaluation.statistics import mean_and_deviation
from activessf.evaluation.tables.notes import MEANS, notes_on_folds, notes_on_leaks
from activessf.evaluation.tables.published import MEASURED, PUBLISHED
from activessf.evaluation.tables.table import (
    METRIC_TITLES,
    Table,
    marked_title,
    mean_columns,
    number,
    percent,
    spread,
)

_CHECK = "\N{CHECK MARK}"
_METHOD_TITLES = {"mae": "MAE", "mixedae": "MixedAE", "mocov3": "MoCo v3"}
# What each selection adds to pretraining on whole slides, and the selection that it is to be compared with.
_PARTS = {"none": ("", ""), "crf": (_CHECK, ""), "random": (_CHECK, "at random"), "activessf": (_CHECK, _CHECK)}
_STEP_BEFORE = {"crf": "none", "random": "crf", "activessf": "crf"}


def ablation_table(runs: Sequence[Run]) -> Table | None:
    """Each part of the pipeline added to the one before, of methods on a Vision Transformer run on all regions.

    None where there is no such method. A row's gain is the mean difference to the row that it adds one part to, over
    the folds that both have.

    Args:
        runs: Runs of one section, in the order of rows.
    """
    pretrained = [run for run in runs if run.method != "none" and run.choices.get("backbone", "").startswith("vit")]
    methods = {run.method: run.choices["backbone"] for run in pretrained if run.selection == "crf"}
    chosen = [run for run in pretrained if run.method in methods and run.selection in _PARTS]
    supervised = [run for run in runs if run.method == "none" and run.choices.get("backbone") in methods.values()]
    rows = supervised + chosen
    if not chosen:
        return None
    values, text = [], []
    for run in rows:
        parts = _parts(run, list(methods))
        figures = {metric: percent(run, metric) for metric in METRICS}
        gain, published = _gain(run, rows), _published_gain(run)
        values.append(
            {"run": run.title}
            | parts
            | mean_columns(figures)
            | {"pr_auc_gain": gain, "published_pr_auc_gain": published}
        )
        text.append(
            {"Run": marked_title(run)}
            | parts
            | {METRIC_TITLES[metric]: spread(figures[metric]) for metric in METRICS}
            | {f"PR-AUC gain, {MEASURED}": number(gain, "+.2f"), f"PR-AUC gain, {PUBLISHED}": number(published, "+.2f")}
        )
    notes = [
        "CRF: cell region filtering (selection=crf). ASS: active sample selection (selection=activessf); at random: as "
        "many regions drawn at random, the control that the paper lacks.",
        f"{MEANS} Gain: percent points over the row that has one part less (of the drawn regions: over all regions); "
        "published from Table III (arXiv 2502.08200).",
        *notes_on_folds(rows),
        *notes_on_leaks(rows),
    ]
    best, bold = _best(values, len(parts)), "Bold: the highest mean of all rows."
    return Table("ablation", "Ablation", pd.DataFrame(values), pd.DataFrame(text), notes, best, bold)


def _parts(run: Run, methods: Sequence[str]) -> dict[str, str]:
    """A check mark for each part that a run has."""
    filtered, selected = _PARTS[run.selection]
    pretraining = {_METHOD_TITLES.get(name, name): _CHECK if run.method == name else "" for name in methods}
    return {"ViT": _CHECK} | pretraining | {"CRF": filtered, "ASS": selected}


def _gain(run: Run, rows: Sequence[Run]) -> float:
    """PR-AUC gained on the row before, in percent points; NaN where there is none with a common fold."""
    if run.method == "none":
        return math.nan
    method = run.method if run.selection in _STEP_BEFORE else "none"
    selection = _STEP_BEFORE.get(run.selection, "none")
    backbone = run.choices.get("backbone")
    for other in rows:
        if (other.method, other.selection, other.choices.get("backbone")) == (method, selection, backbone):
            metric = "pr_auc"
            return mean_and_deviation(
                [_of(run, fold, metric) - _of(other, fold, metric) for fold in paired_folds(run, other)]
            )[0]
    return math.nan


def _of(run: Run, fold: int, metric: str) -> float:
    value = run.folds[fold].metrics[metric]
    assert isinstance(value, float)
    return 100 * value


def _published_gain(run: Run) -> float:
    """The same of Table III."""
    table = table_3()
    names = list(dict.fromkeys(table["row"]))
    row = row_of(run, table)
    if row is None or row == names[0]:
        return math.nan
    scores = table[table["metric"] == "pr_auc"].set_index("row")["mean"]
    return float(scores[row] - scores[names[names.index(row) - 1]])


def _best(values: Sequence[Mapping[str, object]], num_parts: int) -> frozenset[tuple[int, int]]:
    """The highest mean of each metric, as in the paper."""
    means = pd.DataFrame(values)[[f"{metric}_mean" for metric in METRICS]]
    return frozenset(
        (int(row), 1 + num_parts + column)
        for column in range(len(METRICS))
        for row in means.index[means.iloc[:, column] == means.iloc[:, column].max()]
    )
