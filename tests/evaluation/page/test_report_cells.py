"""Cells of a section, their confusion, and the surest mistakes, against naive readings of predictions.csv."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from activessf.evaluation.page.cells import Predicted, pooled_predictions
from activessf.evaluation.page.confusion import confusion_counts, matrix_rows, shown_cells
from activessf.evaluation.page.mistakes import agreement, confident_mistakes, mistakes_table
from activessf.evaluation.page.opened import Limits, page_data
from activessf.evaluation.page.pictures import chosen_pictures
from activessf.evaluation.runs import collect_runs, union_of_classes

WriteRun = Callable[..., Path]
SMALL = {"a": 12, "b": 9, "c": 4}


@st.composite
def predictions(draw: st.DrawFn) -> Predicted:
    number, classes = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    probabilities = rng.dirichlet(np.ones(classes), number).round(1)  # with ties
    return Predicted(
        cells=rng.permutation(number), true=rng.integers(0, classes, number),
        predicted=probabilities.argmax(axis=1), probabilities=probabilities,
    )  # fmt: skip


@given(predictions())
def test_the_matrix_is_that_of_scikit_learn(predicted: Predicted) -> None:
    number = predicted.probabilities.shape[1]
    expected = confusion_matrix(predicted.true, predicted.predicted, labels=range(number))
    assert (confusion_counts(predicted, number) == expected).all()
    rows = matrix_rows(predicted, number)
    assert [[cell["count"] for cell in row["cells"]] for row in rows] == expected.tolist()
    for row in rows:
        assert np.isclose(sum(cell["share"] for cell in row["cells"]), 1 if row["total"] else 0)


@given(predictions(), st.integers(1, 6))
def test_a_cell_of_the_matrix_opens_its_own_cells_in_order(predicted: Predicted, most: int) -> None:
    number = predicted.probabilities.shape[1]
    counts = confusion_matrix(predicted.true, predicted.predicted, labels=range(number))
    shown = shown_cells(predicted, number, most)
    assert {pair: len(rows) for pair, rows in shown.items()} == {
        (true, wrong): min(most, counts[true, wrong])
        for true in range(number) for wrong in range(number) if counts[true, wrong]
    }  # fmt: skip
    for (true, wrong), rows in shown.items():
        everyone = [
            predicted.probabilities[row, wrong]
            for row in range(len(predicted.true))
            if predicted.true[row] == true and predicted.predicted[row] == wrong
        ]
        ordered = sorted(everyone, reverse=true != wrong)[:most]
        assert [predicted.probabilities[row, wrong] for row in rows] == ordered


@given(predictions(), st.integers(1, 6))
def test_the_surest_mistakes_of_each_class_are_found(predicted: Predicted, most: int) -> None:
    number = predicted.probabilities.shape[1]
    for true, rows in enumerate(confident_mistakes(predicted, number, most)):
        wrong = [
            predicted.probabilities[row].max()
            for row in range(len(predicted.true))
            if predicted.true[row] == true and predicted.predicted[row] != true
        ]
        assert [predicted.probabilities[row].max() for row in rows] == sorted(wrong, reverse=True)[:most]
        assert all(predicted.true[row] == true for row in rows)


def test_cells_of_several_runs_are_known_once(write_run: WriteRun, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_run(name, folds=range(3), counts=SMALL, num_folds=3)
    runs, _ = collect_runs(tmp_path / "runs")
    cells, pooled = pooled_predictions(runs, ["a", "b", "c", "only elsewhere"])
    assert len(cells) == 25 and not cells[["image", "x", "fold"]].duplicated().any()
    for run, predicted in zip(runs, pooled, strict=True):
        assert sorted(predicted.cells) == list(range(25)) and (predicted.probabilities[:, 3] == 0).all()
        for fold, result in run.folds.items():
            for _, row in result.predictions.iterrows():
                place = cells.index[(cells["image"] == row["image"]) & (cells["x"] == row["x"])].item()
                own = predicted.cells.tolist().index(place)
                assert cells["fold"][place] == fold and cells["label"][place] == row["label"]
                assert "abc"[predicted.predicted[own]] == row["predicted"]
                assert np.allclose(predicted.probabilities[own, :3], [row["p_a"], row["p_b"], row["p_c"]])


def test_a_cell_that_is_labeled_twice_stays_two_cells_and_a_missing_box_does_no_harm(
    write_run: WriteRun, tmp_path: Path
) -> None:
    def twice(fold: int) -> pd.DataFrame:
        boxes = {"x": [1, 1, np.nan], "y": [1, 1, np.nan], "width": [5, 5, np.nan], "height": [5, 5, np.nan]}
        return pd.DataFrame(
            {"image": "007", **boxes, "group": "", "fold": fold, "label": "a", "predicted": ["a", "b", "b"],
             "p_a": [0.9, 0.2, 0.1], "p_b": [0.1, 0.8, 0.9]}
        )  # fmt: skip

    for name in ("one", "two"):
        write_run(name, folds=[0], counts={"a": 3, "b": 0}, num_folds=2, predictions=twice)
    runs, _ = collect_runs(tmp_path / "runs")
    cells, pooled = pooled_predictions(runs, ["a", "b"])
    assert len(cells) == 3 and list(cells["image"]) == ["007"] * 3 and cells["x"].tolist() == [1, 1, -1]
    assert [list(predicted.cells) for predicted in pooled] == [[0, 1, 2], [0, 1, 2]]
    assert [list(counts) for counts in agreement(pooled, 3)] == [[0, 2, 2], [2, 2, 2]]


def test_the_table_of_mistakes_says_how_many_runs_contradict_a_label(write_run: WriteRun, tmp_path: Path) -> None:
    for name, skill in (("one", 0.5), ("two", 1.0), ("three", 0.8)):
        write_run(name, folds=range(3), counts=SMALL, num_folds=3, skill=skill, title=name)
    runs, _ = collect_runs(tmp_path / "runs")
    classes = union_of_classes(runs)
    cells, pooled = pooled_predictions(runs, classes)
    table = mistakes_table(runs, pooled, cells, classes, most=3)
    assert table.groupby(["run", "label"]).size().max() <= 3 and len(table) > 6
    frames = [pd.concat([result.predictions for result in run.folds.values()]) for run in runs]
    for _, row in table.iterrows():
        same = [frame[(frame["image"] == row["image"]) & (frame["x"] == row["x"])].iloc[0] for frame in frames]
        assert row["runs_wrong"] == sum(item["predicted"] != item["label"] for item in same)
        assert row["runs_tested"] == 3 and row["label"] != row["predicted"]
        own = next(item for run, item in zip(runs, same, strict=True) if run.title == row["run"])
        assert (own["predicted"], own[f"p_{own['predicted']}"]) == (row["predicted"], row["probability"])
        assert own[f"p_{own['label']}"] == row["probability_of_label"]


def test_pictures_go_to_mistakes_first_and_to_all_lists_in_turn() -> None:
    wanted = [(2, 0, 7), (1, 0, 1), (1, 1, 2), (1, 0, 3), (0, 0, 4), (0, 1, 5), (0, 0, 6), (1, 0, 4)]
    files: list[Path | None] = [Path("crop.png")] * 8
    files[6] = None
    assert chosen_pictures(wanted, files, 10) == [4, 5, 1, 3, 2, 7]
    assert chosen_pictures(wanted, files, 3) == [4, 5, 1]
    assert chosen_pictures(wanted, files, 0) == []


def test_the_pages_data_name_three_classes_and_the_labels_probability(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("one", folds=range(3), num_folds=3, skill=1.0)
    runs, _ = collect_runs(tmp_path / "runs")
    classes = union_of_classes(runs)
    cells, pooled = pooled_predictions(runs, classes)
    data: dict[str, Any] = page_data(
        pooled, cells, classes, [None] * len(cells), Limits(shown=4, mistakes=2, pictures=9)
    )
    frame = pd.concat([result.predictions for result in runs[0].folds.values()]).set_index(["image", "x"])
    seen = 0
    for pair, rows in data["runs"][0]["confusion"].items():
        true, wrong = map(int, pair.split(","))
        for cell, top, of_label in rows:
            image, box, group, fold, label, picture, runs_wrong, tested = data["cells"][cell]
            row = frame.loc[(image, float(box.split(" at ")[1].split(",")[0]))]
            best = sorted(((row[f"p_{name}"], name) for name in classes), reverse=True)[:3]
            assert [(classes[top[i]], top[i + 1]) for i in (0, 2, 4)] == [(name, round(p, 4)) for p, name in best]
            assert (classes[label], classes[top[0]], row["fold"]) == (row["label"], row["predicted"], fold)
            assert (label, top[0]) == (true, wrong) and of_label == round(row[f"p_{row['label']}"], 4)
            assert (picture, tested, runs_wrong) == (-1, 1, int(true != wrong)) and group == ""
            seen += 1
    assert seen > 20 and all(len(rows) <= 2 for rows in data["runs"][0]["mistakes"])
