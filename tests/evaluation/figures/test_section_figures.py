from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pictures import assert_is_drawn

from activessf.data.images import write_png
from activessf.evaluation.figures import section
from activessf.evaluation.figures.section import bar_groups, pairs, section_figures
from activessf.evaluation.runs import collect_runs
from activessf.evaluation.sections import Section, split_into_sections

WriteRun = Callable[..., Path]
SMALL = {"a": 12, "b": 9, "\u7d30\u80de$": 4}
CELLS = "made-0123"


def section_of(tmp_path: Path) -> Section:
    return split_into_sections(collect_runs(tmp_path / "runs")[0])[0]


def write_runs(write_run: WriteRun, *selections: str, **options: object) -> None:
    for selection in selections:
        write_run(
            f"mae-{selection}", "mae", selection, folds=range(3), counts=SMALL, num_folds=3, rare=["b"], common=["a"],
            settings={"data.cells": CELLS, "selection.name": selection}, **options,
        )  # fmt: skip


def test_each_run_stands_behind_its_baseline_and_others_alone(write_run: WriteRun, tmp_path: Path) -> None:
    write_runs(write_run, "none", "crf", "activessf")
    write_run("vit", "none", "none", folds=[0], counts=SMALL, num_folds=3, settings={"data.cells": CELLS})
    runs = section_of(tmp_path).runs
    names = [[run.name for run in pair] for pair in pairs(runs)]
    assert names == [["mae-none", "mae-crf"], ["mae-none", "mae-activessf"], ["vit"]]
    assert [[run.name for run in group] for group in bar_groups(runs)] == [["mae-none", "mae-crf", "mae-activessf"]]


def test_a_pair_needs_no_bars_of_its_own(write_run: WriteRun, tmp_path: Path) -> None:
    write_runs(write_run, "none", "activessf")
    assert bar_groups(section_of(tmp_path).runs) == []


def test_without_crops_the_distribution_is_that_of_the_test_cells_and_says_so(
    write_run: WriteRun, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    write_runs(write_run, "none", "activessf")
    figures = section_figures(section_of(tmp_path), tmp_path / "report")
    names = ["class_distribution", "comparison_mae-activessf", "pr_curves_mae-activessf"]
    assert [figure.path.stem for figure in figures] == names
    for figure in figures:
        assert_is_drawn(figure.path)
    assert "test cells of fold 0, 1, 2" in figures[0].caption and "not on this disk" in figures[0].caption


def test_the_distribution_is_that_of_all_labeled_cells_where_they_are_there(
    write_run: WriteRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_runs(write_run, "activessf")
    folder = tmp_path / "stages" / "cells" / CELLS
    (folder / "crops").mkdir(parents=True)
    rng = np.random.default_rng(0)
    labels = ["a"] * 40 + ["b"] * 3
    cells = pd.DataFrame({"image": "i.png", "label": labels, "x": 0, "y": 0, "width": 9, "height": 9, "group": ""})
    cells = cells.assign(split="", crop=[f"crops/{row}.png" for row in range(len(labels))])
    for crop in cells["crop"]:
        write_png(rng.integers(0, 256, (9, 9, 3), np.uint8), folder / crop)
    cells.to_csv(folder / "cells.csv", index=False)
    drawn = []
    for name in ("class_distribution", "comparison", "pr_curves"):
        monkeypatch.setattr(section, name, lambda *given, name=name: drawn.append((name, given)))
    figure = section_figures(section_of(tmp_path), tmp_path / "report")[0]
    name, (counts, samples, rare, common, path) = drawn[0]
    assert name == "class_distribution" and path == figure.path
    assert counts == {"a": 40, "b": 3, "\u7d30\u80de$": 0}
    assert {label: len(crops) for label, crops in samples.items()} == {"a": 6, "b": 3}
    assert (rare, common) == ({"b"}, {"a"})
    assert figure.caption.startswith("All labeled cells")
