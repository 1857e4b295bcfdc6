import re
from collections.abc import Callable
from pathlib import Path

import pytest

from activessf.evaluation.published.numbers import (
    has_its_classes,
    is_significant,
    metrics_of,
    row_of,
    table_1,
    table_2,
    table_3,
)
from activessf.evaluation.runs import Run, collect_runs

WriteRun = Callable[..., Path]
PAPER = Path(__file__).resolve().parents[4] / "shared" / "paper" / "activessf_paper.md"
ROWS = [
    *(
        "ResNet",
        "ViT",
        "MoCo v3 w/o ActiveSSF",
        "MoCo v3 w/ ActiveSSF",
        "ConvMAE w/o ActiveSSF",
        "ConvMAE w/ ActiveSSF",
    ),
    *("MIXMIM w/o ActiveSSF", "MIXMIM w/ ActiveSSF", "MAE w/o ActiveSSF", "MAE w/ ActiveSSF"),
]


def read(folder: Path) -> dict[str, Run]:
    return {run.name: run for run in collect_runs(folder)[0]}


@pytest.mark.parametrize("row", ROWS)
def test_the_pr_auc_of_table_2_is_the_mean_of_the_row_of_table_1(row: str) -> None:
    by_class = table_1().query("row == @row")["mean"]
    (overall,) = table_2().query("row == @row and metric == 'pr_auc'")["mean"]
    # Eleven figures rounded to .005 have a mean that is off by no more, and so has the printed mean.
    assert len(by_class) == 11 and abs(by_class.mean() - overall) <= 0.01


def test_the_tables_are_whole() -> None:
    assert list(dict.fromkeys(table_1()["row"])) == ROWS == list(dict.fromkeys(table_2()["row"]))
    assert len(table_1()) == 110 and len(table_2()) == 30 and len(table_3()) == 12
    for table in (table_1(), table_2(), table_3()):
        assert table["mean"].between(40, 100).all() and table["sd"].between(0, 20).all()
        assert table["source"].str.startswith("arXiv 2502.08200, Table I").all()
    kinds = table_1().drop_duplicates("class").set_index("class")["kind"]
    assert set(kinds[kinds == "rare"].index) == {"CA-MK", "HL-MK"} and set(kinds[kinds == "common"].index) == {"G-MK"}


def test_table_3_repeats_rows_of_table_2() -> None:
    twins = {"ViT": "ViT", "MAE": "MAE w/o ActiveSSF", "MAE + CRF + ASS": "MAE w/ ActiveSSF"}
    ablation = table_3().set_index(["row", "metric"])[["mean", "sd"]]
    for name, twin in twins.items():
        for metric in ("accuracy", "pr_auc", "f1"):
            assert tuple(ablation.loc[(name, metric)]) == metrics_of(twin)[metric]


def test_exchanged_cells_and_the_drop_are_shipped_as_they_are_read() -> None:
    assert metrics_of("MIXMIM w/ ActiveSSF")["pr_auc"] == (77.39, 1.34)
    assert metrics_of("MIXMIM w/ ActiveSSF")["f1"] == (70.51, 0.68)
    assert metrics_of("MIXMIM w/o ActiveSSF")["pr_auc"] == (72.80, 4.41)
    noted = table_2().query("note != ''")
    assert set(noted["row"]) == {"MIXMIM w/ ActiveSSF", "MIXMIM w/o ActiveSSF"} and len(noted) == 4
    drop = (
        metrics_of("MoCo v3 w/ ActiveSSF")["pr_auc/HL-MK"][0] - metrics_of("MoCo v3 w/o ActiveSSF")["pr_auc/HL-MK"][0]
    )
    assert drop == pytest.approx(58.11 - 59.75)
    assert is_significant("MAE w/ ActiveSSF", "f1") and not is_significant("MAE w/o ActiveSSF", "f1")


def test_the_files_hold_every_figure_that_the_paper_prints() -> None:
    if not PAPER.is_file():
        pytest.skip("the paper's text is not in ../shared/paper")
    lines = re.sub(r"</?b>|<sup>.*?</sup>|\*", "", PAPER.read_text(encoding="utf-8")).splitlines()
    printed = {}
    for line in lines:
        pairs = re.findall(r"(\d+\.\d+) ± (\d+\.\d+)", line)
        if pairs:
            name = re.sub(r" \[\d+\]", "", line.split("\t")[0])
            printed[(name, len(pairs))] = [(float(mean), float(sd)) for mean, sd in pairs]
    for row in ROWS:
        shipped = metrics_of(row)
        assert printed[(row, 11)] == [shipped[name] for name in shipped if name.startswith("pr_auc/")]
        order = ("accuracy", "f1", "pr_auc") if row.startswith("MIXMIM") else ("accuracy", "pr_auc", "f1")
        assert printed[(row, 3)] == [shipped[name] for name in order]


def test_runs_stand_beside_the_row_of_their_method_and_selection(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("ours", "mae", "activessf", folds=[0])
    write_run("whole", "convmae", "none", folds=[0], choices={"backbone": "convvit_base"})
    write_run("all", "mae", "crf", folds=[0])
    write_run("vit", "none", "none", folds=[0], choices={"backbone": "vit_small"})
    write_run("resnet", "none", "none", folds=[0], choices={"backbone": "resnet50"})
    write_run("other", "none", "none", folds=[0], choices={"backbone": "convvit_base"})
    write_run("mixed", "mixedae", "activessf", folds=[0])
    runs = read(tmp_path)
    assert {name: row_of(run, table_2()) for name, run in runs.items()} == {
        "ours": "MAE w/ ActiveSSF", "whole": "ConvMAE w/o ActiveSSF", "all": None, "vit": "ViT", "resnet": "ResNet",
        "other": None, "mixed": None,
    }  # fmt: skip
    assert [row_of(runs[name], table_3()) for name in ("vit", "all", "ours")] == ["ViT", "MAE + CRF", "MAE + CRF + ASS"]


def test_the_paper_s_classes_are_told_from_made_up_and_other_ones(write_run: WriteRun, tmp_path: Path) -> None:
    eleven = {name: 10 for name in table_1()["class"].unique()}
    write_run("real", folds=[0], counts=eleven, choices={"data": "megakaryocyte"})
    write_run("made_up", folds=[0], counts=eleven, choices={"data": "demo"})
    write_run("fewer", folds=[0], counts=dict(list(eleven.items())[1:]), choices={"data": "megakaryocyte"})
    assert {name: has_its_classes(run) for name, run in read(tmp_path).items()} == {
        "real": True, "made_up": False, "fewer": False,
    }  # fmt: skip
