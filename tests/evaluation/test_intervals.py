import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from activessf.evaluation.intervals import pooled_pr_auc
from activessf.evaluation.runs import Run, collect_runs

WriteRun = Callable[..., Path]
SMALL = {"a": 40, "b": 30, "c": 6}


def read(folder: Path) -> dict[str, Run]:
    return {run.name: run for run in collect_runs(folder)[0]}


def test_the_estimate_is_that_of_all_cells_put_together(write_run: WriteRun, tmp_path: Path) -> None:
    folder = write_run("mae-1", counts=SMALL, rare=[], common=[], skill=1)
    frame = pd.concat([pd.read_csv(path) for path in folder.glob("fold_*/predictions.csv")])
    found = pooled_pr_auc(read(tmp_path)["mae-1"], range(5), 200).intervals()
    scores = {name: average_precision_score(frame["label"] == name, frame[f"p_{name}"]) for name in SMALL}
    for name, score in scores.items():
        interval = found[f"pr_auc/{name}"]
        assert interval.estimate == pytest.approx(score) and interval.lower < score < interval.upper
    assert found["pr_auc"].estimate == pytest.approx(sum(scores.values()) / 3)
    assert list(found) == ["pr_auc", "pr_auc/a", "pr_auc/b", "pr_auc/c"]


def test_a_run_minus_itself_is_nothing_in_every_resample(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", counts=SMALL, rare=[], common=[])
    pooled = pooled_pr_auc(read(tmp_path)["mae-1"], range(5), 50)
    for interval in pooled.minus(pooled).values():
        assert (interval.estimate, interval.lower, interval.upper) == (0, 0, 0)


def test_differences_are_of_the_same_draws_and_so_narrower_than_scores(write_run: WriteRun, tmp_path: Path) -> None:
    folder = write_run("first", counts=SMALL, rare=[], common=[], skill=2)

    def blurred(fold: int) -> pd.DataFrame:
        """Nearly the same probabilities, in another order of rows."""
        frame = pd.read_csv(folder / f"fold_{fold}" / "predictions.csv", keep_default_na=False)
        columns = [f"p_{name}" for name in SMALL]
        frame[columns] = 0.9 * frame[columns] + 0.1 * np.random.default_rng(fold).dirichlet(np.ones(3), len(frame))
        return frame.sample(frac=1, random_state=fold)

    write_run("second", counts=SMALL, rare=[], common=[], predictions=blurred)
    runs = read(tmp_path)
    ours, theirs = (pooled_pr_auc(runs[name], range(5), 300) for name in ("second", "first"))
    difference, score = ours.minus(theirs)["pr_auc"], ours.intervals()["pr_auc"]
    assert difference.estimate == pytest.approx(ours.estimates["pr_auc"] - theirs.estimates["pr_auc"])
    assert difference.lower < difference.estimate < difference.upper
    assert difference.upper - difference.lower < (score.upper - score.lower) / 2
    back = theirs.minus(ours)["pr_auc"]
    assert (back.lower, back.upper) == pytest.approx((-difference.upper, -difference.lower))


def test_resamples_without_a_class_are_left_out_and_counted(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0], counts={"a": 60, "b": 5}, rare=[], common=[])
    found = pooled_pr_auc(read(tmp_path)["mae-1"], [0], 200)
    intervals = found.intervals()
    assert intervals["pr_auc/b"].resamples < 200 == intervals["pr_auc/a"].resamples == intervals["pr_auc"].resamples


def test_a_single_image_has_no_interval(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0], counts={"a": 15, "b": 10}, rare=[], common=[])
    found = pooled_pr_auc(read(tmp_path)["mae-1"], [0], 200)
    assert (found.cells, found.units, found.unit) == (5, 1, "images")
    interval = found.intervals()["pr_auc"]
    assert math.isnan(interval.lower) and math.isnan(interval.upper) and interval.resamples == 0
    assert 0 <= interval.estimate <= 1


def test_groups_are_the_units_where_they_are_given(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", counts=SMALL, rare=[], common=[], groups=3)
    found = pooled_pr_auc(read(tmp_path)["mae-1"], range(5), 10)
    assert (found.units, found.unit) == (15, "groups")
