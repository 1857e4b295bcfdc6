import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score

from activessf.errors import InputError
from activessf.evaluation.baselines import NO_SELECTION, Baseline, check_baseline, differences, read_baseline
from activessf.evaluation.comparisons import compare
from activessf.evaluation.report import main, write_report
from activessf.evaluation.runs import Run, collect_runs, in_table_order
from activessf.evaluation.tables.comparisons import comparisons_table
from activessf.evaluation.tables.table import Table

WriteRun = Callable[..., Path]
SMALL = {"a": 12, "b": 9, "c": 6}
CROSS_ENTROPY, MAE = Baseline("loss", "cross_entropy"), Baseline("ssl_method", "mae")


@pytest.fixture
def write(write_run: WriteRun) -> WriteRun:
    """Writes a run of three folds of few cells."""

    def write_small(name: str, *args: Any, **options: Any) -> Path:
        given = {"folds": range(3), "num_folds": 3, "counts": SMALL, "rare": ["c"], "common": ["a"]}
        return write_run(name, *args, **(given | options))

    return write_small


def runs_below(folder: Path) -> list[Run]:
    return in_table_order(collect_runs(folder)[0])


def paired(baseline: Baseline, runs: list[Run]) -> dict[str, str]:
    return {run.name: other.name for run in runs if (other := baseline.of(run, runs)) is not None}


def accuracies(folder: Path) -> list[float]:
    frames = [pd.read_csv(path) for path in sorted(folder.glob("fold_*/predictions.csv"))]
    return [100 * float(accuracy_score(frame["label"], frame["predicted"])) for frame in frames]


def test_each_run_is_paired_with_the_one_of_the_same_method_and_selection(write: WriteRun, tmp_path: Path) -> None:
    for method, selection in (("mae", "none"), ("mae", "activessf"), ("mocov3", "activessf")):
        for loss in ("cross_entropy", "focal", "ldam"):
            write(f"{method}-{selection}-{loss}", method, selection, folds=[0], choices={"loss": loss},
                  settings={"loss._target_": loss, "loss.label_smoothing": float(loss == "focal")})  # fmt: skip
    runs = runs_below(tmp_path)
    assert paired(CROSS_ENTROPY, runs) == {
        f"{kind}-{loss}": f"{kind}-cross_entropy"
        for kind in ("mae-none", "mae-activessf", "mocov3-activessf")
        for loss in ("focal", "ldam")
    }
    assert paired(NO_SELECTION, runs) == {
        f"mae-activessf-{loss}": f"mae-none-{loss}" for loss in ("cross_entropy", "focal", "ldam")
    }
    assert paired(Baseline("ssl_method", "mae"), runs) == {
        f"mocov3-activessf-{loss}": f"mae-activessf-{loss}" for loss in ("cross_entropy", "focal", "ldam")
    }


def test_the_tests_against_another_loss_are_those_of_scipy(write: WriteRun, tmp_path: Path) -> None:
    folders = {
        loss: write(loss, choices={"loss": loss}, skill=skill, folds=range(5), num_folds=5, counts={"a": 60, "b": 40})
        for loss, skill in (("cross_entropy", 1.0), ("focal", 1.2), ("ldam", 2.0))
    }
    runs = runs_below(tmp_path)
    comparisons = compare(runs, ["accuracy"], CROSS_ENTROPY)
    assert {(item.run.name, item.baseline.name) for item in comparisons} == {
        ("focal", "cross_entropy"), ("ldam", "cross_entropy")
    }  # fmt: skip
    before = pd.Series(accuracies(folders["cross_entropy"]))
    corrected = []
    for item in comparisons:
        after = pd.Series(accuracies(folders[item.run.name]))
        plain = stats.ttest_rel(after, before)
        assert item.plain.p == pytest.approx(plain.pvalue)
        assert 100 * item.plain.difference == pytest.approx((after - before).mean())
        # Nadeau-Bengio: the variance of the mean is s2 (1/5 + 1/4), not s2 / 5.
        t = plain.statistic * (0.2 / (0.2 + 0.25)) ** 0.5
        corrected.append(2 * stats.t.sf(abs(t), 4))
        assert item.corrected.p == pytest.approx(corrected[-1])
    smaller = min(range(2), key=corrected.__getitem__)
    assert comparisons[smaller].holm_p == pytest.approx(min(1, 2 * corrected[smaller]))


def test_supervised_runs_are_the_baseline_of_every_selection_and_are_compared_with_whole_slides(
    write: WriteRun, tmp_path: Path
) -> None:
    regions = {"regions": "calibrated", "selection/features": "resnet50"}
    write("vit", "none", "none", folds=[0], settings={"ssl_method.name": "none"})
    write("resnet", "none", "none", folds=[0], choices={"backbone": "resnet50"})
    write("whole", "mae", "none", folds=[0], settings={"ssl_method.name": "mae", "data.slides": "1"})
    write("crf", "mae", "crf", folds=[0], choices=regions)
    write("ours", "mae", "activessf", folds=[0], choices=regions)
    runs = runs_below(tmp_path)
    assert paired(Baseline("ssl_method", "none"), runs) == dict.fromkeys(("whole", "crf", "ours"), "vit")
    assert paired(MAE, runs) == {"vit": "whole"}
    assert paired(Baseline("selection", "crf"), runs) == {"ours": "crf"}
    assert paired(Baseline("backbone", "resnet50"), runs) == {"vit": "resnet"}
    assert paired(NO_SELECTION, runs) == {"crf": "whole", "ours": "whole"}


def test_a_setting_by_its_dotted_name_is_a_baseline(write: WriteRun, tmp_path: Path) -> None:
    key = "recipe.finetuning.retrain_head"
    for name, epochs in (("whole", None), ("retrained", 10)):
        write(name, folds=[0], settings={key: epochs, "recipe.finetuning.mixup": 0.0})
    write("mixed", folds=[0], settings={key: 10, "recipe.finetuning.mixup": 0.8})
    runs = runs_below(tmp_path)
    assert paired(read_baseline(f"{key}=null"), runs) == {"retrained": "whole"}
    assert paired(read_baseline("recipe.finetuning.mixup=0"), runs) == {"mixed": "retrained"}
    assert read_baseline(f"{key}=null").lacking(runs) == [
        f"mae + activessf (the nearest run with {key}=null differs in recipe.finetuning.mixup)"
    ]


def test_a_loss_had_no_part_where_the_encoder_stays_as_it_is(write: WriteRun, tmp_path: Path) -> None:
    write("tuned", folds=[0], choices={"evaluation": "finetune", "loss": "focal"})
    write("plain", folds=[0], choices={"evaluation": "finetune"})
    write("knn", folds=[0], choices={"evaluation": "knn", "loss": "ldam"})
    runs = runs_below(tmp_path)
    assert paired(CROSS_ENTROPY, runs) == {"tuned": "plain"} and CROSS_ENTROPY.lacking(runs) == []
    assert paired(Baseline("evaluation", "knn"), runs) == {"tuned": "knn", "plain": "knn"}


def test_several_runs_that_could_be_the_baseline_are_none_and_named(write: WriteRun, tmp_path: Path) -> None:
    for exponent in (0.5, 1.0):
        write(f"weighted-{exponent}", folds=[0], choices={"loss": "weighted"}, settings={"loss.exponent": exponent})
    write("plain", folds=[0])
    runs = runs_below(tmp_path)
    weighted = Baseline("loss", "weighted")
    assert paired(weighted, runs) == {}
    assert weighted.lacking(runs) == [
        "mae + activessf (several runs with loss=weighted equal it, which differ in loss.exponent)"
    ]


def test_of_copies_the_one_with_more_folds_is_the_baseline(write: WriteRun, tmp_path: Path) -> None:
    for name, folds in (("copy", [0]), ("plain", [0, 1])):
        write(name, folds=folds)
    write("focal", folds=[0, 1], choices={"loss": "focal"})
    assert paired(CROSS_ENTROPY, runs_below(tmp_path)) == {"focal": "plain"}


def test_settings_below_a_group_that_differs_are_not_named_beside_it(write: WriteRun, tmp_path: Path) -> None:
    write("one", folds=[0], settings={"loss.gamma": 2, "seed": 1, "losses": 1})
    write("other", folds=[0], choices={"loss": "focal"}, settings={"loss.gamma": 3, "seed": 2, "losses": 2})
    one, other = (run for name in ("one", "other") for run in runs_below(tmp_path) if run.name == name)
    assert differences(one, other) == ["loss", "seed", "losses"]
    assert differences(one, other, "loss") == ["seed", "losses"]


@pytest.mark.parametrize(
    ("text", "baseline"),
    [
        ("ssl=mae", MAE),
        ("ssl.layer_decay=1", Baseline("ssl_method.layer_decay", "1")),
        ("loss=cross_entropy", CROSS_ENTROPY),
        ("selection/features=resnet50", Baseline("selection/features", "resnet50")),
    ],
)
def test_a_baseline_is_read_as_training_reads_it(text: str, baseline: Baseline) -> None:
    assert read_baseline(text) == baseline


@pytest.mark.parametrize("text", ["loss", "=none", "loss=", ""])
def test_a_baseline_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"needs GROUP=OPTION.*but is {re.escape(repr(text))}"):
        read_baseline(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("los=focal", "No finished run has a group or setting los; --baseline takes the groups .*loss, .*ssl_method"),
        ("loss=fokal", "No finished run has loss=fokal; there are runs with cross_entropy, focal."),
        ("loss.gamma=3", "No finished run has loss.gamma=3; there are runs with 2.0."),
        ("ssl=mae", "Every finished run has ssl_method=mae, so none can be compared with it"),
        ("recipe=quick", "--baseline recipe=quick compares nothing: .* stand in different tables"),
    ],
)
def test_baselines_that_no_run_meets_are_told_in_a_sentence(
    text: str, sentence: str, write: WriteRun, tmp_path: Path
) -> None:
    write("plain", folds=[0])
    write("focal", folds=[0], choices={"loss": "focal"}, settings={"loss.gamma": 2.0})
    with pytest.raises(InputError, match=sentence):
        check_baseline(read_baseline(text), runs_below(tmp_path))


def test_a_mistake_ends_the_report_with_status_two_and_nothing_written(
    write: WriteRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("plain", folds=[0])
    arguments = ["--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "report"), "--baseline"]
    for text in ("loss=fokal", "loss"):
        assert main([*arguments, text]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_runs_without_a_partner_are_named_below_the_comparisons(write: WriteRun, tmp_path: Path) -> None:
    write("plain", folds=[0, 1])
    write("focal", folds=[0, 1], choices={"loss": "focal"})
    for loss in ("ldam", "weighted"):
        write(loss, "mocov3", folds=[0, 1], choices={"loss": loss}, title=f"mocov3 + {loss}")
    runs = runs_below(tmp_path)
    notes = comparisons_table(runs, compare(runs, baseline=CROSS_ENTROPY), baseline=CROSS_ENTROPY).notes
    without = "mocov3 + ldam, mocov3 + weighted (the nearest run with loss=cross_entropy differs in ssl_method)"
    assert notes[-1] == f"Without a baseline: {without}."


@pytest.mark.usefixtures("undrawn")
def test_tables_page_and_notes_name_the_baseline_and_the_paper_s_gains_stay(write: WriteRun, tmp_path: Path) -> None:
    choices = {"backbone": "vit_tiny"}
    for selection in ("none", "activessf"):
        for loss, skill in (("cross_entropy", 1.0), ("focal", 6.0)):
            write(f"{selection}-{loss}", "mae", selection, skill=skill, choices=choices | {"loss": loss})
    for name, options in (("by_loss", {"baseline": CROSS_ENTROPY}), ("by_selection", {})):
        write_report(tmp_path / "runs", tmp_path / name, num_resamples=20, **options)  # type: ignore[arg-type]
    ours, usual = (tmp_path / name / "demo-quick-seed0" for name in ("by_loss", "by_selection"))
    for folder, key, other in ((ours, "loss=cross_entropy", "selection=none"), (usual, "selection=none", "loss=")):
        for table in ("comparisons", "class_comparisons"):
            text = (folder / f"{table}.md").read_text(encoding="utf-8").replace("\\", "")
            assert f"the same configuration with {key})" in text and f"with {other}" not in text, table
        page = (folder / "index.html").read_text(encoding="utf-8")
        assert f"Runs were compared with the same configuration with {key} by paired t-tests over the folds; s" in page
    overall = (ours / "overall.md").read_text(encoding="utf-8").replace("\\", "")
    assert "0.05 in a paired t-test against the same configuration with loss=cross_entropy; ** also" in overall
    compared = pd.read_csv(ours / "comparisons.csv")
    assert set(zip(compared["run"], compared["baseline"], strict=True)) == {
        (f"mae + {selection} (loss=focal)", f"mae + {selection} (loss=cross_entropy)")
        for selection in ("none", "activessf")
    }
    assert compared["lower"].notna().any() and (compared["pooled_difference"].dropna() > 0).all()
    published = [pd.read_csv(folder / "published_differences.csv") for folder in (ours, usual)]
    pd.testing.assert_frame_equal(*published)
    assert set(published[0]["run"]) == {f"mae + activessf (loss={loss})" for loss in ("cross_entropy", "focal")}
    note = (ours / "published_differences.md").read_text(encoding="utf-8").replace("\\", "")
    assert "Measured: the runs of this report against the same configuration with selection=none" in note


def test_bold_print_is_explained_where_there_is_any() -> None:
    frame = pd.DataFrame({"Run": ["a"], "x": ["1"]})
    plain, bold = (Table("t", "T", frame, frame, ["A note."], best) for best in (frozenset[Any](), frozenset({(0, 1)})))
    assert plain.printed_notes == ["A note."] == bold.notes
    assert bold.printed_notes == ["A note.", "Bold: the best of a method's runs on the same backbone."]


@pytest.mark.usefixtures("undrawn")
def test_every_format_with_bold_print_explains_it_and_the_terminal_has_none(write: WriteRun, tmp_path: Path) -> None:
    for selection in ("none", "crf"):
        write(f"mae-{selection}", "mae", selection, folds=[0])
    lines = write_report(tmp_path / "runs", tmp_path / "report", num_resamples=20)
    assert not any("Bold:" in line for line in lines)
    section = tmp_path / "report/demo-quick-seed0"
    tables = {path.stem for path in section.glob("*.md")}
    marked = {name for name in tables if "**" in (section / f"{name}.md").read_text(encoding="utf-8")}
    assert marked == {"overall", "further_metrics", "per_class", "long_tail", "calibration", "ablation"}
    for name in tables:
        written = [(section / f"{name}.{suffix}").read_text(encoding="utf-8") for suffix in ("md", "tex")]
        explained = "Bold: the highest mean of all rows." if name == "ablation" else "Bold: the best of a method's runs"
        assert [explained in text for text in written] == [name in marked] * 2, name
    page = (section / "index.html").read_text(encoding="utf-8")
    assert page.count("Bold: the best of a method&#39;s runs") == 5 and page.count("Bold: the highest mean") == 1
