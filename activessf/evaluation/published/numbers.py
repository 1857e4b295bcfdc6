"""Tables I to III of the paper (arXiv 2502.08200), read from the CSV files beside this module.

Percent, mean and standard deviation over five folds. Four cells differ from what is printed, see their `note`: Table II
has PR-AUC and F1 of both MIXMIM rows exchanged, as the means of Table I's rows tell.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

from activessf.evaluation.runs import Run, union_of_classes
from activessf.manifests import read_table

_FOLDER = Path(__file__).parent
_ROW = ("row", "ssl_method", "backbone", "selection")
_VALUE = ("mean", "sd", "source", "note")


@cache
def table_1() -> pd.DataFrame:
    """PR-AUC by class: columns row, ssl_method, backbone, selection, class, kind, mean, sd, source, note."""
    return read_table(_FOLDER / "table_1.csv", (*_ROW, "class", "kind", *_VALUE))


@cache
def table_2() -> pd.DataFrame:
    """Accuracy, macro PR-AUC and macro F1: columns as in Table I, but metric for class, and significant (0 or 1)."""
    return read_table(_FOLDER / "table_2.csv", (*_ROW, "metric", "significant", *_VALUE))


@cache
def table_3() -> pd.DataFrame:
    """The ablation: columns as in Table II."""
    return read_table(_FOLDER / "table_3.csv", (*_ROW, "metric", *_VALUE))


def row_of(run: Run, table: pd.DataFrame) -> str | None:
    """The row of a published table that a run stands beside, None where the paper has none.

    That of its method and selection; of a supervised run, that of its backbone's family (resnet*, vit*).

    Args:
        run: The run.
        table: `table_1`, `table_2` or `table_3`.
    """
    rows = table.drop_duplicates("row")
    for name, method, backbone, selection in rows[list(_ROW)].itertuples(index=False, name=None):
        same = (method, selection) == (run.method, run.selection)
        if same and run.choices.get("backbone", "").startswith(backbone):
            return str(name)
    return None


def metrics_of(row: str) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation, in percent, of each metric of a row of Tables I and II, named as in metrics.json.

    Args:
        row: Its name, such as "MAE w/ ActiveSSF".
    """
    overall, by_class = table_2(), table_1()
    overall, by_class = overall[overall["row"] == row], by_class[by_class["row"] == row]
    return dict(zip(overall["metric"], zip(overall["mean"], overall["sd"], strict=True), strict=True)) | dict(
        zip("pr_auc/" + by_class["class"], zip(by_class["mean"], by_class["sd"], strict=True), strict=True)
    )


def is_significant(row: str, metric: str) -> bool:
    """Whether Table II has a star (p < 0.05) at a metric of a row."""
    found = table_2()
    return bool(((found["row"] == row) & (found["metric"] == metric) & (found["significant"] == 1)).any())


def classes_of_kind(kind: str) -> set[str]:
    """The classes that Table I marks.

    Args:
        kind: "rare" (dagger) or "common" (asterisk).
    """
    found = table_1()
    return set(found["class"][found["kind"] == kind])


def has_its_classes(run: Run) -> bool:
    """Whether the classes of a run are the paper's eleven, of real cells: made-up ones only bear their names."""
    return set(union_of_classes([run])) == set(table_1()["class"]) and run.choices.get("data") != "demo"
