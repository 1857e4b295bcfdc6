import math
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, matthews_corrcoef

from activessf.evaluation.comparisons import compare
from activessf.evaluation.intervals import Interval, pooled_pr_auc
from activessf.evaluation.runs import Run, collect_runs, in_table_order
from activessf.evaluation.tables.comparisons import class_comparisons_table, comparisons_table
from activessf.evaluation.tables.intervals import intervals_table
from activessf.evaluation.tables.overall import further_metrics_table
from activessf.evaluation.tables.per_class import calibration_table, long_tail_table
from activessf.evaluation.tables.section import section_tables

WriteRun = Callable[..., Path]
SMALL = {"a": 40, "b": 30, "c": 12}


def runs_below(folder: Path) -> list[Run]:
    return in_table_order(collect_runs(folder)[0])


def write_pair(write_run: WriteRun, **options: object) -> None:
    for name, selection in (("mae-0", "none"), ("mae-1", "activessf")):
        write_run(name, "mae", selection, **({"counts": SMALL, "rare": ["c"], "common": ["a"], "skill": 1} | options))


def test_further_metrics_are_what_sklearn_says(write_run: WriteRun, tmp_path: Path) -> None:
    folder = write_run("mae-1")
    frames = [pd.read_csv(path) for path in sorted(folder.glob("fold_*/predictions.csv"))]
    table = further_metrics_table(runs_below(tmp_path))
    mcc = pd.Series([100 * matthews_corrcoef(frame["label"], frame["predicted"]) for frame in frames])
    balanced = pd.Series([100 * balanced_accuracy_score(frame["label"], frame["predicted"]) for frame in frames])
    assert table.values["mcc_mean"][0] == pytest.approx(mcc.mean())
    assert table.values["mcc_sd"][0] == pytest.approx(mcc.std())
    assert table.values["balanced_accuracy_mean"][0] == pytest.approx(balanced.mean())
    assert table.text["MCC (%)"][0] == f"{mcc.mean():.2f} ± {mcc.std():.2f}"


def test_the_best_is_the_highest_score_and_the_lowest_error(write_run: WriteRun, tmp_path: Path) -> None:
    write_pair(write_run)
    runs = runs_below(tmp_path)
    table, errors = further_metrics_table(runs), calibration_table(runs, ["c"], ["a"])
    means = table.values.filter(like="_mean")
    highest = {(int(means.iloc[:, c].idxmax()), c + 1) for c in range(3)}
    lowest = {(int(means.iloc[:, c].idxmin()), c + 1) for c in range(3, 6)}
    assert table.best == highest | lowest
    by_class = errors.values.pivot(index="run", columns="class", values="class_ece_mean").loc[[r.title for r in runs]]
    assert errors.best == {
        (int(by_class[name].to_numpy().argmin()), column) for column, name in enumerate(SMALL, start=1)
    }


def test_head_and_tail_are_means_over_their_classes_in_each_fold(write_run: WriteRun, tmp_path: Path) -> None:
    folder = write_run(
        "mae-1", counts=SMALL | {"d": 9}, rare=["c", "d"], common=["a"], absent={0: ["d"], 1: ["c", "d"]}
    )
    table = long_tail_table(runs_below(tmp_path), SMALL | {"d": 9}, {"c", "d"}, {"a"})
    tails = []
    for path in sorted(folder.glob("fold_*/predictions.csv")):
        frame = pd.read_csv(path)
        scores = [
            100 * average_precision_score(frame["label"] == name, frame[f"p_{name}"])
            for name in ("c", "d")
            if (frame["label"] == name).any()
        ]
        tails += [sum(scores) / len(scores)] if scores else []
    row = table.values[table.values["part"] == "tail"].iloc[0]
    assert len(tails) == 4 == row["folds"] and row["classes"] == "c; d"
    assert row["pr_auc_mean"] == pytest.approx(pd.Series(tails).mean())
    assert row["pr_auc_sd"] == pytest.approx(pd.Series(tails).std())
    assert "head: a (40 cells); medium: b (30 cells); tail: c, d (9 to 12 cells)." in table.notes[0]
    assert list(table.text.columns[1:3]) == ["Head PR-AUC (%)", "Head F1-score (%)"]


def test_a_part_without_classes_is_empty_and_said_to_be(write_run: WriteRun, tmp_path: Path) -> None:
    write_pair(write_run, rare=["c"], common=[])
    table = long_tail_table(runs_below(tmp_path), SMALL, {"c"}, set())
    assert list(table.text["Head PR-AUC (%)"]) == ["-", "-"] and "head: none" in table.notes[0]


def test_intervals_stand_by_run_and_class_and_say_what_was_drawn(write_run: WriteRun, tmp_path: Path) -> None:
    write_pair(write_run, groups=2)
    runs = runs_below(tmp_path)
    pooled = {run.name: pooled_pr_auc(run, list(run.folds), 100) for run in runs}
    table = intervals_table(runs, pooled, ["c"], ["a"])
    assert list(table.values["class"]) == ["", "a", "b", "c"] * 2 and set(table.values["units"]) == {10}
    row = table.values.iloc[0]
    assert row["lower"] < row["pr_auc"] < row["upper"]
    assert table.text["PR-AUC (%)"][0] == f"{row['pr_auc']:.2f} [{row['lower']:.2f}, {row['upper']:.2f}]"
    assert table.text["Drawn from"][0] == "10 groups" and table.text["Cells"][0] == "82"
    assert any(note.startswith("Fewer than 20 groups") for note in table.notes)


def test_resamples_without_a_class_are_counted_in_a_note(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0], counts={"a": 60, "b": 5}, rare=[], common=[])
    runs = runs_below(tmp_path)
    table = intervals_table(runs, {"mae-1": pooled_pr_auc(runs[0], [0], 100)}, [], [])
    lacking = 100 - int(table.values.set_index("class").loc["b", "resamples"])
    assert lacking > 0 and any(f"b {lacking} of 100" in note for note in table.notes)


def test_comparisons_have_effect_sizes_and_intervals_of_pr_auc(write_run: WriteRun, tmp_path: Path) -> None:
    write_pair(write_run)
    runs = runs_below(tmp_path)
    interval = Interval(0.02, -0.01, 0.05, 90)
    table = comparisons_table(runs, compare(runs), {"mae-1": {"pr_auc": interval}})
    pooled = "Pooled difference, 95 % interval (points)"
    assert list(table.text[pooled]) == ["-", "+2.00 [-1.00, +5.00]", "-"]
    assert list(table.values["upper"][1:2]) == [5.0] and table.values["resamples"][1] == 90
    differences = [
        100 * (runs[1].folds[fold].metrics["accuracy"] - runs[0].folds[fold].metrics["accuracy"])  # type: ignore[operator]
        for fold in range(5)
    ]
    series = pd.Series(differences)
    correction = 2 / math.sqrt(2 * math.pi)  # Hedges' for five pairs
    assert table.values["effect_size"][0] == pytest.approx(correction * series.mean() / series.std())
    assert table.values["wilcoxon_p"].isna().all() and any(note.startswith("Wilcoxon") for note in table.notes)


def test_ten_folds_have_a_wilcoxon_test(write_run: WriteRun, tmp_path: Path) -> None:
    write_pair(write_run, counts={"a": 60, "b": 40}, rare=[], common=[], folds=range(10), num_folds=10)
    runs = runs_below(tmp_path)
    table = comparisons_table(runs, compare(runs))
    assert table.values["wilcoxon_p"].between(0, 1).all() and "-" not in set(table.text["Wilcoxon p"])


def test_classes_are_compared_rare_first_with_holm_over_the_table(write_run: WriteRun, tmp_path: Path) -> None:
    write_pair(write_run, absent={2: ["c"]})
    runs = runs_below(tmp_path)
    (table,) = [table for table in section_tables(runs, compare(runs), SMALL, 50) if table.name == "class_comparisons"]
    assert list(table.values["class"]) == ["c", "b", "a"] and list(table.values["kind"]) == ["rare", "", "common"]
    assert list(table.values["folds"]) == [4, 5, 5] and table.values["paired_folds"][0] == "0 1 3 4"
    corrected = table.values["corrected_p"].sort_values()
    smallest = corrected.index[0]
    assert table.values["holm_p"][smallest] == pytest.approx(min(1, 3 * corrected.iloc[0]))
    assert table.values["lower"].notna().all() and list(table.text["Class"]) == ["c†", "b", "a*"]


def test_tables_come_from_a_single_fold_with_what_it_can_tell(write_run: WriteRun, tmp_path: Path) -> None:
    write_pair(write_run, folds=[0])
    runs = runs_below(tmp_path)
    tables = {table.name: table for table in section_tables(runs, compare(runs), SMALL, 50)}
    assert {"overall", "further_metrics", "per_class", "long_tail", "intervals", "calibration"} <= tables.keys()
    text = "".join(cell for table in tables.values() for row in table.text.to_numpy() for cell in row)
    assert "±" not in text and not re.search(r"\bnan\b", text)
    assert set(tables["class_comparisons"].text["p"]) == {"-"}
    assert any("needs two folds" in note for note in tables["class_comparisons"].notes)


def test_a_fold_that_only_the_baseline_has_is_in_no_difference(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-0", "mae", "none", counts=SMALL, rare=["c"], common=["a"], skill=1)
    folder = write_run("mae-1", folds=[0, 1, 3], counts=SMALL, rare=["c"], common=["a"], skill=1)
    runs = runs_below(tmp_path)
    tables = {table.name: table for table in section_tables(runs, compare(runs), SMALL, 50)}
    row = tables["comparisons"].values.set_index("metric").loc["pr_auc"]

    def pooled(run: Path) -> float:
        frame = pd.concat([pd.read_csv(run / f"fold_{fold}" / "predictions.csv") for fold in (0, 1, 3)])
        return sum(100 * average_precision_score(frame["label"] == name, frame[f"p_{name}"]) for name in SMALL) / 3

    assert row["pooled_difference"] == pytest.approx(pooled(folder) - pooled(tmp_path / "runs" / "mae-0"))
    assert row["lower"] < row["pooled_difference"] < row["upper"]


def test_every_table_of_means_says_which_folds_are_missing(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-0", "mae", "none", counts=SMALL, rare=["c"], common=["a"])
    write_run("mae-1", folds=[0, 1, 3, 4], counts=SMALL, rare=["c"], common=["a"], absent={1: ["c"]})
    runs = runs_below(tmp_path)
    tables = {table.name: table for table in section_tables(runs, compare(runs), SMALL, 20)}
    for name in ("overall", "further_metrics", "per_class", "long_tail", "intervals", "calibration"):
        notes = "\n".join(tables[name].notes)
        assert "mae + activessf: only fold 0, 1, 3, 4; missing is 2." in notes, name
        assert "The rows rest on different folds" in notes, name
    for name in ("overall", "further_metrics", "long_tail"):
        assert any(note.endswith("Without test cells: fold 1: c.") for note in tables[name].notes), name


def test_a_class_without_a_test_cell_in_any_fold_has_no_score_and_is_named(write_run: WriteRun, tmp_path: Path) -> None:
    write_pair(write_run, folds=[0, 1], absent={0: ["c"], 1: ["c"]})
    runs = runs_below(tmp_path)
    tables = {table.name: table for table in section_tables(runs, compare(runs), SMALL, 20)}
    for name in ("per_class", "calibration"):
        assert set(tables[name].text["c\N{DAGGER}"]) == {"-"}
        assert "c has no test cell in any fold here, and so no score." in tables[name].notes
    assert "Without a test cell in any fold here: c." in tables["intervals"].notes


def test_runs_without_a_baseline_have_no_table_by_class(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", counts=SMALL, rare=[], common=[])
    runs = runs_below(tmp_path)
    names = [table.name for table in section_tables(runs, compare(runs), SMALL, 20)]
    assert names == ["overall", "further_metrics", "per_class", "long_tail", "intervals", "calibration", "comparisons"]
    assert class_comparisons_table([], {}, [], []).values.empty
