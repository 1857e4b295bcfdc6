from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from activessf.evaluation.comparisons import compare
from activessf.evaluation.runs import Run, collect_runs, in_table_order
from activessf.evaluation.tables.comparisons import comparisons_table
from activessf.evaluation.tables.overall import overall_table
from activessf.evaluation.tables.per_class import per_class_table

WriteRun = Callable[..., Path]
RARE, COMMON = {"CA-MK", "HL-MK"}, {"G-MK"}


def runs_below(folder: Path) -> list[Run]:
    return in_table_order(collect_runs(folder)[0])


def predictions(folder: Path) -> list[pd.DataFrame]:
    return [pd.read_csv(path) for path in sorted(folder.glob("fold_*/predictions.csv"))]


def accuracy(fold: Path) -> float:
    frame = pd.read_csv(fold / "predictions.csv")
    return float(accuracy_score(frame["label"], frame["predicted"]))


def test_the_overall_table_is_what_sklearn_and_pandas_say(write_run: WriteRun, tmp_path: Path) -> None:
    folder = write_run("mae-1")
    runs = runs_below(tmp_path)
    table = overall_table(runs, [])
    folds = predictions(folder)
    accuracies = pd.Series([100 * accuracy_score(fold["label"], fold["predicted"]) for fold in folds])
    f1 = pd.Series([100 * f1_score(fold["label"], fold["predicted"], average="macro") for fold in folds])
    assert table.values["accuracy_mean"][0] == pytest.approx(accuracies.mean())
    assert table.values["accuracy_sd"][0] == pytest.approx(accuracies.std())
    assert table.values["f1_mean"][0] == pytest.approx(f1.mean())
    assert table.text["Accuracy (%)"][0] == f"{accuracies.mean():.2f} \u00b1 {accuracies.std():.2f}"
    assert list(table.text.iloc[0, [0, 4, 5, 6]]) == ["mae + activessf", "5 of 5", "211", "100"]


def test_missing_folds_are_named(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0, 2], unfinished=[3])
    write_run("mae-0", "mae", "none")
    table = overall_table(runs_below(tmp_path), [])
    assert list(table.text["Folds"]) == ["5 of 5", "2 of 5"]
    assert "mae + activessf: only fold 0, 2; missing are 1, 3, 4 (started, not finished: 3)." in table.notes
    assert any("different folds" in note for note in table.notes)


def test_a_single_fold_has_a_mean_without_deviation_and_no_test(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0])
    write_run("mae-0", "mae", "none", folds=[0])
    runs = runs_below(tmp_path)
    comparisons = compare(runs)
    overall, against = overall_table(runs, comparisons), comparisons_table(runs, comparisons)
    assert "\u00b1" not in overall.text["Accuracy (%)"][0] and "*" not in "".join(overall.text["Accuracy (%)"])
    assert list(against.text["p"]) == ["-"] * 3 and against.values["holm_p"].isna().all()
    assert any("needs two folds" in note for note in against.notes)


def test_a_class_absent_from_a_fold_has_the_mean_of_the_others(write_run: WriteRun, tmp_path: Path) -> None:
    folder = write_run("mae-1", absent={1: ["HL-MK"], 3: ["HL-MK"]})
    runs = runs_below(tmp_path)
    table = per_class_table(runs, RARE, COMMON)
    scores = [
        100 * average_precision_score(fold["label"] == "HL-MK", fold["p_HL-MK"])
        for index, fold in enumerate(predictions(folder))
        if index not in (1, 3)
    ]
    row = table.values[table.values["class"] == "HL-MK"].iloc[0]
    assert row["pr_auc_mean"] == pytest.approx(sum(scores) / 3) and row["folds"] == 3 and row["kind"] == "rare"
    assert "HL-MK has no test cell in fold 1, 3: mean over the other folds (3)." in table.notes
    assert any("fold 1: HL-MK; fold 3: HL-MK" in note for note in overall_table(runs, []).notes)


def test_rare_and_common_classes_are_marked(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0])
    table = per_class_table(runs_below(tmp_path), RARE, COMMON)
    assert list(table.text.columns[:5]) == ["Run", "P-MK", "IMK", "CA-MK\u2020", "G-MK*"]
    assert "\u2020 rare class, * common class." in table.notes


def test_the_best_of_each_method_is_marked(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-0", "mae", "none", skill=1)
    write_run("mae-1", "mae", "activessf", skill=5)
    write_run("moco-0", "mocov3", "none", skill=0.5)
    table = overall_table(runs_below(tmp_path), [])
    assert table.best == {(1, 1), (1, 2), (1, 3)}


def test_stars_follow_the_comparisons(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-0", "mae", "none", skill=1)
    write_run("mae-1", "mae", "activessf", skill=5)
    runs = runs_below(tmp_path)
    table = overall_table(runs, compare(runs))
    assert "*" not in table.text["Accuracy (%)"][0] and table.text["Accuracy (%)"][1].endswith(" **")
    assert any(note.startswith("* p < 0.05") for note in table.notes)


def test_prototypes_that_saw_the_test_fold_are_marked(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0], scope="all")
    write_run("mae-2", folds=[0], scope="train_fold", title="clean")
    table = overall_table(runs_below(tmp_path), [])
    assert set(table.text["Run"]) == {"mae + activessf \u2021", "clean"}
    assert any(
        "selection and pretraining saw images of the test fold (selection.scope=all): mae + activessf." in note
        for note in table.notes
    )


def test_comparisons_hold_differences_in_points_and_the_paired_folds(write_run: WriteRun, tmp_path: Path) -> None:
    none, ours = write_run("mae-0", "mae", "none", folds=[0, 1, 2]), write_run("mae-1", folds=[0, 2, 3])
    write_run("moco-1", "mocov3", "activessf", folds=[0])
    runs = runs_below(tmp_path)
    table = comparisons_table(runs, compare(runs))
    before, after = (sum(100 * accuracy(folder / f"fold_{fold}") for fold in (0, 2)) / 2 for folder in (none, ours))
    row = table.values.iloc[0]
    assert row["difference"] == pytest.approx(after - before)
    assert row["folds"] == 2 and row["paired_folds"] == "0 2" and row["metric"] == "accuracy"
    assert (
        "Without a baseline: mocov3 + activessf (the nearest run with selection=none differs in ssl_method)."
        in table.notes
    )


def test_without_a_baseline_the_comparisons_are_empty_and_say_so(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0])
    runs = runs_below(tmp_path)
    table = comparisons_table(runs, compare(runs))
    assert table.values.empty and "holm_p" in table.values.columns and "selection=none" in table.notes[0]


def test_changing_numbers_of_pretraining_images_show_as_a_range(write_run: WriteRun, tmp_path: Path) -> None:
    folder = write_run("mae-1", folds=[0, 1])
    file = folder / "fold_1" / "run.json"
    file.write_text(file.read_text().replace('"pretraining_images": 211', '"pretraining_images": 198'))
    table = overall_table(runs_below(tmp_path), [])
    assert table.text["Pretraining images"][0] == "198 to 211" and table.values["pretraining_images"][0] == 204.5
