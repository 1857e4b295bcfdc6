from collections.abc import Callable
from pathlib import Path

import pytest

from activessf.errors import InputError
from activessf.evaluation.runs import collect_runs, in_table_order, marked_classes, union_of_classes, with_unique_titles
from activessf.evaluation.sections import file_name, split_into_sections

WriteRun = Callable[..., Path]


def test_folds_of_a_run_are_put_together(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-activessf-12", folds=[2, 0])
    runs, notes = collect_runs(tmp_path)
    assert [run.name for run in runs] == ["mae-activessf-12"] and list(runs[0].folds) == [0, 2] and notes == []
    assert runs[0].num_folds == 5 and runs[0].choices["selection"] == "activessf"
    assert union_of_classes(runs)[:3] == ["P-MK", "IMK", "CA-MK"]
    assert marked_classes(runs, "rare") == {"CA-MK", "HL-MK"} and marked_classes(runs, "common") == {"G-MK"}


def test_folds_of_one_run_may_stand_in_several_folders(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("one/mae-12", folds=[0, 1])
    write_run("two/mae-12", folds=[1, 2])
    runs, notes = collect_runs(tmp_path / "runs")
    assert len(runs) == 1 and list(runs[0].folds) == [0, 1, 2]
    assert notes == ["two/mae-12/fold_1 was left out: one/mae-12/fold_1 is the same fold."]


def test_a_fold_without_predictions_is_unfinished(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0, 1], unfinished=[3])
    write_run("mae-2", folds=[], unfinished=[0], title="started")
    runs, notes = collect_runs(tmp_path / "runs")
    assert [run.name for run in runs] == ["mae-1"] and runs[0].unfinished == (3,)
    assert notes == ["started (mae-2): no fold is finished yet (started: 0)."]


def test_a_folder_without_run_json_is_left_out_with_a_note(write_run: WriteRun, tmp_path: Path) -> None:
    folder = write_run("mae-1", folds=[0, 1])
    (folder / "fold_1" / "run.json").unlink()
    (folder / "fold_of_something").mkdir()
    runs, notes = collect_runs(tmp_path / "runs")
    assert list(runs[0].folds) == [0] and notes == [
        "mae-1/fold_1 was left out: it has no run.json, so it is not finished."
    ]


def test_no_runs_are_a_clear_error(write_run: WriteRun, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of runs"):
        collect_runs(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no run"):
        collect_runs(tmp_path)
    write_run("mae-1", folds=[], unfinished=[0, 1])
    with pytest.raises(InputError, match=r"2 started fold\(s\) but none finished"):
        collect_runs(tmp_path)


def test_a_broken_run_json_is_a_clear_error(write_run: WriteRun, tmp_path: Path) -> None:
    folder = write_run("mae-1", folds=[0])
    (folder / "fold_0" / "run.json").write_text('{"title": "x"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.json is not what train\.py writes"):
        collect_runs(tmp_path)


def test_the_baseline_of_each_method_comes_first(write_run: WriteRun, tmp_path: Path) -> None:
    for method in ("mocov3", "mae"):
        for selection in ("activessf", "crf", "none", "random"):
            write_run(f"{method}-{selection}", method, selection, folds=[0])
    write_run("vit", "none", "none", folds=[0], title="supervised")
    order = [run.title for run in in_table_order(collect_runs(tmp_path)[0])]
    expected = [f"{m} + {s}" for m in ("mae", "mocov3") for s in ("none", "crf", "random", "activessf")]
    assert order == ["supervised", *expected]


def test_equal_titles_are_told_apart_by_what_differs(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("a", folds=[0], settings={"selection.alpha": 0.5, "optimizer.lr": 0.1})
    write_run("b", folds=[0], settings={"selection.alpha": 1.0, "optimizer.lr": 0.1})
    write_run("c", "mae", "none", folds=[0])
    titles = {run.name: run.title for run in with_unique_titles(collect_runs(tmp_path)[0])}
    assert titles == {
        "a": "mae + activessf (selection.alpha=0.5)",
        "b": "mae + activessf (selection.alpha=1.0)",
        "c": "mae + none",
    }


def test_another_option_of_a_group_stands_for_all_its_settings(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("a", folds=[0], choices={"backbone": "vit_tiny"}, settings={"backbone.depth": 2, "backbone.width": 9})
    write_run("b", folds=[0], choices={"backbone": "vit_base"}, settings={"backbone.depth": 12, "backbone.width": 768})
    titles = [run.title for run in with_unique_titles(collect_runs(tmp_path)[0])]
    assert titles == ["mae + activessf (backbone=vit_tiny)", "mae + activessf (backbone=vit_base)"]


def test_a_copied_folder_is_told_apart_by_its_name(write_run: WriteRun, tmp_path: Path) -> None:
    for name in ("mae-1", "copy"):
        write_run(name, folds=[0])
    titles = [run.title for run in with_unique_titles(collect_runs(tmp_path)[0])]
    assert titles == ["mae + activessf [copy]", "mae + activessf [mae-1]"]


def test_other_data_recipe_or_seed_is_another_section(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("a", folds=[0])
    write_run("b", "mae", "none", folds=[0])
    write_run("c", folds=[0], seed=1)
    write_run("d", folds=[0], choices={"recipe": "small"})
    write_run("e", folds=[0], choices={"data": "bccd"})
    sections = split_into_sections(collect_runs(tmp_path)[0])
    assert [(section.name, [run.name for run in section.runs]) for section in sections] == [
        ("bccd-quick-seed0", ["e"]),
        ("demo-quick-seed0", ["b", "a"]),
        ("demo-quick-seed1", ["c"]),
        ("demo-small-seed0", ["d"]),
    ]


def test_other_test_cells_are_other_data_whatever_the_name(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("a", folds=[0, 1])
    write_run("b", "mae", "none", folds=[1, 2])
    write_run("c", folds=[0, 1], absent={1: ["IMK"]})
    write_run("d", "mae", "none", folds=[0], num_folds=7)
    sections = split_into_sections(collect_runs(tmp_path)[0])
    assert [(section.name, section.title, {run.name for run in section.runs}) for section in sections] == [
        ("demo-quick-seed0", "demo, recipe quick, seed 0", {"a", "b"}),
        ("demo-quick-seed0-2", "demo, recipe quick, seed 0 (2, other test cells)", {"c"}),
        ("demo-quick-seed0-3", "demo, recipe quick, seed 0 (3, other test cells)", {"d"}),
    ]


def test_a_supervised_run_has_no_selection_whatever_was_chosen(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("vit", "none", "activessf", folds=[0])
    assert collect_runs(tmp_path)[0][0].selection == "none"


def test_names_from_files_are_safe_in_paths() -> None:
    assert file_name("../a b/c") == "_a_b_c" and file_name("..") == "_" and file_name("mae-1_x.y") == "mae-1_x.y"


def test_runs_that_differ_in_loss_sampler_or_head_are_told_apart(write_run: WriteRun, tmp_path: Path) -> None:
    head, gamma, exponent = "recipe.finetuning.retrain_head", "loss.gamma", "sampler.exponent"
    usual = {head: None, exponent: None}
    write_run("a", folds=[0], choices={"sampler": "natural"}, settings=usual)
    write_run("b", folds=[0], choices={"sampler": "natural", "loss": "focal"}, settings=usual | {gamma: 2.0})
    write_run("c", folds=[0], choices={"sampler": "natural", "loss": "focal"}, settings=usual | {gamma: 1.0})
    write_run("d", folds=[0], choices={"sampler": "sqrt"}, settings=usual | {exponent: 0.5})
    write_run("e", folds=[0], choices={"sampler": "natural"}, settings=usual | {head: 10})
    titles = {run.name: run.title for run in with_unique_titles(collect_runs(tmp_path)[0])}
    assert len(set(titles.values())) == 5
    for name, parts in {"b": ["loss=focal"], "d": ["sampler=sqrt"], "e": [f"{head}=10"]}.items():
        assert all(part in titles[name] for part in parts)
