from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from activessf.evaluation.comparisons import compare
from activessf.evaluation.runs import Run, collect_runs, in_table_order
from activessf.evaluation.tables.ablation import ablation_table
from activessf.evaluation.tables.published import published_differences_table, published_scores_table

WriteRun = Callable[..., Path]
ELEVEN = dict.fromkeys(
    ["P-MK", "IMK", "CA-MK", "G-MK", "PP-MK", "NN-MK", "N-MK", "S-MK", "mMK", "MR-MK", "HL-MK"], 15
)  # fmt: skip
PUBLISHED = "Difference, published (clinical data, five folds)"
MEASURED = "Difference, measured (this data)"


def runs_below(folder: Path) -> list[Run]:
    return in_table_order(collect_runs(folder)[0])


def differences(runs: list[Run]) -> pd.DataFrame:
    by_class = compare(runs, [f"pr_auc/{name}" for name in ("HL-MK", "P-MK")])
    table = published_differences_table(runs, compare(runs), by_class)
    assert table is not None
    return table.text.assign(note=" ".join(table.notes))


def mean_of(run: Run, metric: str) -> float:
    values = [100 * float(result.metrics[metric]) for result in run.folds.values()]  # type: ignore[arg-type]
    return sum(values) / len(values)


def test_published_and_measured_gains_stand_side_by_side(write_run: WriteRun, tmp_path: Path) -> None:
    for method, backbone in (("mae", "vit_tiny"), ("mixmim", "mixmim_tiny")):
        for selection in ("none", "activessf"):
            write_run(f"{method}-{selection}", method, selection, choices={"backbone": backbone, "data": "bccd"})
    runs = runs_below(tmp_path)
    text = differences(runs)
    assert list(text["Row of the paper"]) == ["MAE w/ ActiveSSF"] * 3 + ["MIXMIM w/ ActiveSSF"] * 3
    assert list(text["Metric"]) == ["Accuracy", "PR-AUC", "F1-score"] * 2
    # Table II: 80.36 - 78.76, 84.05 - 82.27, 77.64 - 76.34; of MIXMIM 77.39 - 72.80 is the gain in PR-AUC.
    assert list(text[PUBLISHED]) == ["+1.60 *", "+1.78 *", "+1.30 *", "+2.31 *", "+4.59 *", "+4.58 *"]
    by_name = {run.name: run for run in runs}
    measured = mean_of(by_name["mae-activessf"], "accuracy") - mean_of(by_name["mae-none"], "accuracy")
    assert text[MEASURED][0].split()[0] == f"{measured:+.2f}"
    assert "exchanged" in text["note"][0] and "By class nothing is set beside" in text["note"][0]


def test_classes_are_set_beside_where_they_are_the_paper_s(write_run: WriteRun, tmp_path: Path) -> None:
    for selection in ("none", "activessf"):
        write_run(f"moco-{selection}", "mocov3", selection, counts=ELEVEN, choices={"data": "megakaryocyte"})
    runs = runs_below(tmp_path)
    text = differences(runs).set_index("Metric")
    assert list(text.index) == ["Accuracy", "PR-AUC", "F1-score", "HL-MK†", "P-MK"]
    # Table I: 58.11 - 59.75, the one class that fell, and 97.64 - 97.51; no star, since it tells of no test by class.
    assert text[PUBLISHED]["HL-MK†"] == "-1.64" and text[PUBLISHED]["P-MK"] == "+0.13"
    measured = mean_of(runs[1], "pr_auc/HL-MK") - mean_of(runs[0], "pr_auc/HL-MK")
    assert text[MEASURED]["HL-MK†"].split()[0] == f"{measured:+.2f}"


def test_made_up_cells_with_the_paper_s_names_are_not_set_beside_by_class(write_run: WriteRun, tmp_path: Path) -> None:
    for selection in ("none", "activessf"):
        write_run(f"mae-{selection}", "mae", selection, counts=ELEVEN, choices={"data": "demo"})
    runs = runs_below(tmp_path)
    assert len(differences(runs)) == 3 and published_scores_table(runs) is None


def test_what_the_paper_lacks_has_no_row(write_run: WriteRun, tmp_path: Path) -> None:
    for selection in ("none", "crf", "random"):
        write_run(f"mae-{selection}", "mae", selection)
    write_run("mixed-0", "mixedae", "none")
    write_run("mixed-1", "mixedae", "activessf")
    runs = runs_below(tmp_path)
    assert published_differences_table(runs, compare(runs), []) is None


def test_scores_name_their_source_in_every_row(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", counts=ELEVEN, choices={"data": "megakaryocyte"})
    write_run("mae-2", "mae", "crf", counts=ELEVEN, choices={"data": "megakaryocyte"})
    runs = runs_below(tmp_path)
    table = published_scores_table(runs)
    assert table is not None
    assert list(table.text["Source"]) == ["published (clinical data, five folds)", "measured (this data)"]
    assert list(table.text["Run"]) == ["MAE w/ ActiveSSF", "mae + activessf"]
    assert table.text["PR-AUC"][0] == "84.05 ± 1.37" and table.text["HL-MK†"][0] == "78.79 ± 6.46"
    ours = next(run for run in runs if run.name == "mae-1")
    assert table.text["HL-MK†"][1].split()[0] == f"{mean_of(ours, 'pr_auc/HL-MK'):.2f}"
    numbers = table.values.set_index(["source", "metric"])["mean"]
    assert numbers["published", "f1"] == 77.64
    assert numbers["measured", "f1"] == pytest.approx(mean_of(ours, "f1"))


def write_ablation(write_run: WriteRun) -> None:
    write_run("vit", "none", "none", skill=1, title="vit_tiny, supervised")
    for selection, skill in (("none", 1.5), ("crf", 2), ("random", 2), ("activessf", 3)):
        write_run(f"mae-{selection}", "mae", selection, skill=skill)
    write_run("moco", "mocov3", "none")
    write_run("resnet", "none", "none", choices={"backbone": "resnet50"})


def test_the_ablation_has_check_marks_and_gains_over_one_part_less(write_run: WriteRun, tmp_path: Path) -> None:
    write_ablation(write_run)
    runs = runs_below(tmp_path)
    table = ablation_table(runs)
    assert table is not None
    marks = [tuple(row) for row in table.text[["ViT", "MAE", "CRF", "ASS"]].to_numpy()]
    assert marks == [
        ("✓", "", "", ""),
        ("✓", "✓", "", ""),
        ("✓", "✓", "✓", ""),
        ("✓", "✓", "✓", "at random"),
        ("✓", "✓", "✓", "✓"),
    ]
    means = [mean_of(next(run for run in runs if run.title == title), "pr_auc") for title in table.text["Run"]]
    gains = table.values["pr_auc_gain"]
    assert pd.isna(gains[0])
    expected = [means[1] - means[0], means[2] - means[1], means[3] - means[2], means[4] - means[2]]
    assert list(gains[1:]) == pytest.approx(expected)
    # Table III: 82.27 - 67.78, 83.80 - 82.27, 84.05 - 83.80; it has no control.
    published = table.text["PR-AUC gain, published (clinical data, five folds)"]
    assert list(published) == ["-", "+14.49", "+1.53", "-", "+0.25"]
    best = max(range(5), key=lambda row: means[row])
    assert (best, list(table.text.columns).index("PR-AUC (%)")) in table.best


def test_the_ablation_lacks_rows_that_were_not_run_and_their_gains(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-crf", "mae", "crf", folds=[0, 1])
    write_run("mae-activessf", "mae", "activessf", folds=[1, 2])
    table = ablation_table(runs := runs_below(tmp_path))
    assert table is not None and len(table.text) == 2 and pd.isna(table.values["pr_auc_gain"][0])
    before, after = (100 * float(run.folds[1].metrics["pr_auc"]) for run in runs)  # type: ignore[arg-type]
    assert table.values["pr_auc_gain"][1] == pytest.approx(after - before)
    assert any("missing are 2, 3, 4" in note for note in table.notes)


def test_without_a_run_on_all_regions_there_is_no_ablation(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1")
    write_run("convmae", "convmae", "crf", choices={"backbone": "convvit_tiny"})
    assert ablation_table(runs_below(tmp_path)) is None


def test_the_rows_of_a_method_stand_together(write_run: WriteRun, tmp_path: Path) -> None:
    for method in ("mae", "mocov3"):
        for selection in ("none", "activessf"):
            write_run(f"{method}-{selection}", method, selection, counts=ELEVEN, choices={"data": "megakaryocyte"})
    text = differences(runs_below(tmp_path))
    assert list(text["Run"]) == ["mae + activessf"] * 5 + ["mocov3 + activessf"] * 5
    assert list(text["Metric"]) == ["Accuracy", "PR-AUC", "F1-score", "HL-MK†", "P-MK"] * 2
