import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from activessf.evaluation.baselines import NO_SELECTION
from activessf.evaluation.comparisons import compare, paired_folds
from activessf.evaluation.runs import Run, collect_runs

WriteRun = Callable[..., Path]


def runs_below(folder: Path) -> dict[str, Run]:
    return {run.name: run for run in collect_runs(folder)[0]}


def fold_with_accuracy(hits: int) -> pd.DataFrame:
    """Ten cells of two classes, of which the first `hits` are right."""
    labels = ["a", "b"] * 5
    wrong = {"a": "b", "b": "a"}
    predicted = [name if index < hits else wrong[name] for index, name in enumerate(labels)]
    cells = pd.DataFrame({"image": [f"{i}.png" for i in range(10)], "x": 0.0, "y": 0.0, "width": 1.0, "height": 1.0,
                          "group": "", "fold": 0, "label": labels, "predicted": predicted})  # fmt: skip
    return cells.assign(
        p_a=[0.8 if p == "a" else 0.2 for p in predicted], p_b=[0.2 if p == "a" else 0.8 for p in predicted]
    )


def test_accuracies_worked_out_by_hand_are_compared(write_run: WriteRun, tmp_path: Path) -> None:
    before, after = [5, 6, 7, 5, 6], [8, 7, 9, 7, 9]
    write_run("none", "mae", "none", predictions=lambda fold: fold_with_accuracy(before[fold]), rare=[], common=[])
    write_run("ours", predictions=lambda fold: fold_with_accuracy(after[fold]), rare=[], common=[])
    run, baseline = (runs_below(tmp_path)[name] for name in ("ours", "none"))
    comparisons = compare([baseline, run])
    assert [(item.run.name, item.baseline.name, item.metric) for item in comparisons] == [
        ("ours", "none", metric) for metric in ("accuracy", "pr_auc", "f1")
    ]
    accuracy = comparisons[0]
    # Differences .3 .1 .2 .2 .3: mean .22, sample variance .028 / 4.
    assert accuracy.plain.difference == pytest.approx(0.22) and accuracy.folds == (0, 1, 2, 3, 4)
    assert accuracy.plain.t == pytest.approx(0.22 / math.sqrt(0.007 / 5))
    assert accuracy.corrected.t == pytest.approx(0.22 / math.sqrt(0.007 * (1 / 5 + 1 / 4)))
    assert accuracy.corrected.p == pytest.approx(2 * stats.t.sf(accuracy.corrected.t, 4))
    assert all(item.holm_p >= item.corrected.p >= item.plain.p for item in comparisons)
    assert accuracy.stars == ("**" if accuracy.holm_p < 0.05 else "*")


def test_only_common_folds_are_paired_and_the_ratio_stays_that_of_five_folds(
    write_run: WriteRun, tmp_path: Path
) -> None:
    write_run("none", "mae", "none", folds=[0, 1, 2])
    write_run("ours", folds=[1, 2, 4])
    runs = runs_below(tmp_path)
    accuracy = compare(list(runs.values()))[0]
    first, second = ([float(runs[n].folds[f].metrics["accuracy"]) for f in (1, 2)] for n in ("none", "ours"))  # type: ignore[arg-type]
    differences = [after - before for before, after in zip(first, second, strict=True)]
    mean = sum(differences) / 2
    variance = sum((value - mean) ** 2 for value in differences)
    assert accuracy.folds == (1, 2)
    assert accuracy.corrected.t == pytest.approx(mean / math.sqrt(variance * (1 / 2 + 1 / 4)))


def test_folds_with_other_test_cells_are_not_paired(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("none", "mae", "none", folds=[0, 1])
    write_run("ours", folds=[0, 1], absent={1: ["IMK"]})
    runs = runs_below(tmp_path)
    assert paired_folds(runs["none"], runs["ours"]) == (0,)
    assert "two folds" in compare(list(runs.values()))[0].plain.reason


def test_the_baseline_differs_in_selection_and_regions_only(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("none", "mae", "none", folds=[0], settings={"selection.size": 0, "pretraining.epochs": 5})
    write_run("ours", folds=[0], choices={"regions": "calibrated", "selection/features": "resnet50"},
              settings={"selection.alpha": 0.5, "regions.fill_rate": 0.6, "recipe.feature_image_size": 96})  # fmt: skip
    write_run("longer", folds=[0], settings={"pretraining.epochs": 9})
    write_run("other", "mocov3", folds=[0])
    write_run("bigger", folds=[0], choices={"backbone": "vit_base"})
    runs = runs_below(tmp_path)
    found = {name: NO_SELECTION.of(run, runs.values()) for name, run in runs.items()}
    assert {name for name, baseline in found.items() if baseline is not None} == {"ours"}
    assert found["ours"] is runs["none"]


def test_a_run_that_is_worse_than_its_baseline_is_marked_so(write_run: WriteRun, tmp_path: Path) -> None:
    before, after = [8, 7, 9, 7, 9], [5, 6, 7, 5, 6]
    write_run("none", "mae", "none", predictions=lambda fold: fold_with_accuracy(before[fold]), rare=[], common=[])
    write_run("ours", predictions=lambda fold: fold_with_accuracy(after[fold]), rare=[], common=[])
    run, baseline = (runs_below(tmp_path)[name] for name in ("ours", "none"))
    accuracy = compare([baseline, run])[0]
    assert accuracy.plain.difference == pytest.approx(-0.22)
    assert accuracy.stars in ("*\N{DOWNWARDS ARROW}", "**\N{DOWNWARDS ARROW}")
