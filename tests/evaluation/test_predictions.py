import csv
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activessf.evaluation.metrics import fold_metrics, read_predictions
from activessf.evaluation.predictions import write_predictions

CLASSES = ["b", "a", "NA"]


def cells(labels: list[str]) -> pd.DataFrame:
    """Test cells as the folds have them, with more columns than needed and an index that starts anywhere."""
    count = len(labels)
    return pd.DataFrame(
        {
            "crop": [f"crops/{number}.png" for number in range(count)],
            "label": labels,
            "image": [f"{number}.png" for number in range(count)],
            "x": range(count), "y": 1, "width": 20, "height": 30, "group": "007", "fold": 3,
        },
        index=range(100, 100 + count),
    )  # fmt: skip


def test_columns_and_rows_stand_as_documented(tmp_path: Path) -> None:
    probabilities = np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3]])
    write_predictions(cells(["b", "a", "NA"]), probabilities, CLASSES, tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == "image,x,y,width,height,group,fold,label,predicted,p_b,p_a,p_NA".split(",")
    assert rows == [
        "0.png,0,1,20,30,007,3,b,b,0.5,0.25,0.25".split(","),
        "1.png,1,1,20,30,007,3,a,NA,0.1,0.2,0.7".split(","),
        "2.png,2,1,20,30,007,3,NA,a,0.2,0.5,0.3".split(","),
    ]


def test_of_equal_probabilities_the_first_class_is_predicted(tmp_path: Path) -> None:
    write_predictions(cells(["a"]), np.full((1, 3), 1 / 3), CLASSES, tmp_path / "predictions.csv")
    assert read_predictions(tmp_path / "predictions.csv")["predicted"].tolist() == ["b"]


@given(st.integers(0, 2**32), st.integers(1, 12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
def test_probabilities_are_written_in_full_precision(tmp_path: Path, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([0.01, 1, 5], count)
    labels = rng.choice(CLASSES, count).tolist()
    write_predictions(cells(labels), probabilities, CLASSES, tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_array_equal([[float(row[f"p_{name}"]) for name in CLASSES] for row in rows], probabilities)
    assert [row["predicted"] for row in rows] == [CLASSES[row.argmax()] for row in probabilities]


def test_the_metrics_read_what_was_written(tmp_path: Path) -> None:
    probabilities = np.array([[0.6, 0.2, 0.2], [0.1, 0.2, 0.7], [0.3, 0.5, 0.2], [0.2, 0.5, 0.3]])
    write_predictions(cells(["b", "a", "a", "NA"]), probabilities, CLASSES, tmp_path / "predictions.csv")
    metrics = fold_metrics(read_predictions(tmp_path / "predictions.csv"))
    assert metrics["cells"] == 4 and metrics["accuracy"] == 0.5 and metrics["support/NA"] == 1
    # a: ranked 0.5 (a), 0.5 (NA), 0.2 (b), 0.2 (a), ties together: precision 1/2 at recall 1/2, then 2/4 at recall 1.
    assert metrics["pr_auc/a"] == 0.5


def test_a_table_that_is_there_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    for label in ("a", "b"):
        write_predictions(cells([label]), np.array([[0.5, 0.25, 0.25]]), CLASSES, path)
    assert read_predictions(path)["label"].tolist() == ["b"] and list(tmp_path.iterdir()) == [path]
