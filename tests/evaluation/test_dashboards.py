"""What is logged to W&B, read back from offline runs."""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import wandb
from sklearn.metrics import average_precision_score
from wandb_offline import logged, offline_runs, table

from activessf.data.images import read_image, write_png
from activessf.evaluation import dashboards
from activessf.evaluation.dashboards import in_order_of_interest, log_fold, log_summary, wandb_runs
from activessf.evaluation.metrics import Metrics, fold_metrics
from activessf.training.loggers import no_logger, wandb_logger

MadeUp = Callable[..., pd.DataFrame]
WriteFolds = Callable[[Path, range], list[Metrics]]
CLASSES = {"a": 30, "b/c": 20, "rare <1>": 10}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()  # W&B reads the environment once a process
    yield
    wandb.finish()
    wandb.teardown()


@pytest.fixture
def cells(tmp_path: Path, made_up: MadeUp) -> tuple[pd.DataFrame, list[Path]]:
    """Predictions of one fold, no test cell of one class, and a picture of each cell."""
    frame = made_up(CLASSES | {"absent": 5}, 0, 1, 1.2, absent=["absent"])
    crops = [tmp_path / "crops" / f"{index:03d}.png" for index in range(len(frame))]
    (tmp_path / "crops").mkdir()
    for index, crop in enumerate(crops):
        write_png(np.full((4, 4, 3), index, np.uint8), crop)
    return frame, crops


def start(directory: Path, **described: Any) -> list[Any]:
    known = {"name": "a run", "group": "a group", "config": {}} | described
    return wandb_logger("activessf", None, directory=directory, **known)


@pytest.fixture
def run(cells: tuple[pd.DataFrame, list[Path]], tmp_path: Path) -> dict[str, Any]:
    log_fold(wandb_runs(start(tmp_path)), *cells, ["rare <1>"])
    wandb.finish()
    return offline_runs(tmp_path)["a run"]


def test_the_area_below_the_steps_of_each_logged_curve_is_the_average_precision(
    run: dict[str, Any], cells: tuple[pd.DataFrame, list[Path]]
) -> None:
    curves = pd.DataFrame(table(run, "test/pr_curves_table"))
    assert set(curves["class"]) == set(CLASSES)
    for name, curve in curves.groupby("class"):
        recall, precision = curve["recall"].to_numpy(), curve["precision"].to_numpy()
        expected = average_precision_score(cells[0]["label"] == name, cells[0][f"p_{name}"])
        assert -np.sum(np.diff(recall) * precision[:-1]) == pytest.approx(expected, abs=1e-9)


def test_long_curves_are_thinned_but_keep_their_ends(
    cells: tuple[pd.DataFrame, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboards, "_MOST_POINTS", 7)
    log_fold(wandb_runs(start(tmp_path)), *cells, [])
    wandb.finish()
    curves = pd.DataFrame(table(offline_runs(tmp_path)["a run"], "test/pr_curves_table"))
    for _, curve in curves.groupby("class"):
        assert len(curve) <= 7 and curve["recall"].max() == 1 and curve["recall"].min() == 0


def test_the_confusion_matrix_counts_test_cells(run: dict[str, Any], cells: tuple[pd.DataFrame, list[Path]]) -> None:
    rows = {(row["Actual"], row["Predicted"]): row["nPredictions"] for row in table(run, "test/confusion_matrix_table")}
    names = [*CLASSES, "absent"]
    counted = pd.crosstab(cells[0]["label"], cells[0]["predicted"]).reindex(index=names, columns=names, fill_value=0)
    assert rows == {(one, other): counted.loc[one, other] for one in names for other in names}


def test_mistakes_of_rare_classes_come_first_with_their_pictures(
    run: dict[str, Any], cells: tuple[pd.DataFrame, list[Path]]
) -> None:
    frame, _ = cells
    rows = table(run, "test/predictions")
    assert len(rows) == len(frame)
    wrong = frame["label"] != frame["predicted"]
    rare = frame["label"] == "rare <1>"
    assert 0 < (wrong & rare).sum() < wrong.sum() < len(frame)
    for row, is_wrong, is_rare in zip(rows, sorted(wrong)[::-1], sorted(wrong & rare)[::-1], strict=True):
        assert (row["label"] != row["predicted"]) == is_wrong
        assert row["cell"] == ("Image" if is_wrong else None)  # kept elsewhere, as an artifact
        if is_rare:
            assert row["label"] == "rare <1>"
    for row in rows:
        (cell,) = frame.index[(frame["image"] == row["image"]) & (frame["x"] == row["x"])]
        assert row["probability of label"] == pytest.approx(frame.loc[cell, f"p_{row['label']}"], abs=1e-12)
        assert row["confidence"] == pytest.approx(frame.loc[cell].filter(like="p_").max(), abs=1e-12)


def test_the_pictures_of_mistakes_are_in_the_run_with_their_captions(
    run: dict[str, Any], cells: tuple[pd.DataFrame, list[Path]]
) -> None:
    frame, _ = cells
    told = logged(run)
    rows = table(run, "test/predictions")
    assert told["test/mistakes.count"] == sum(frame["label"] != frame["predicted"])
    for row, name, caption in zip(rows, told["test/mistakes.filenames"], told["test/mistakes.captions"], strict=False):
        (cell,) = frame.index[(frame["image"] == row["image"]) & (frame["x"] == row["x"])]
        picture = read_image(run["folder"] / "files" / name)
        assert picture.shape == (96, 96, 3) and (picture == cell).all()  # the grey in which it was drawn
        assert caption == f"{row['label']}, taken for {row['predicted']} ({row['confidence']:.2f})"


def test_pictures_and_rows_are_limited(
    cells: tuple[pd.DataFrame, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboards, "_MOST_IMAGES", 2)
    monkeypatch.setattr(dashboards, "_MOST_ROWS", 31)
    log_fold(wandb_runs(start(tmp_path)), *cells, [])
    wandb.finish()
    rows = table(offline_runs(tmp_path)["a run"], "test/predictions")
    assert len(rows) == 31 and [row["cell"] is not None for row in rows] == [True] * 2 + [False] * 29


def test_the_most_confident_mistake_of_equals_comes_first() -> None:
    frame = pd.DataFrame(
        {"label": ["a", "a", "b", "a"], "predicted": ["a", "b", "a", "b"],
         "p_a": [0.9, 0.4, 0.8, 0.1], "p_b": [0.1, 0.6, 0.2, 0.9]}
    )  # fmt: skip
    assert list(in_order_of_interest(frame, ["b"]).index) == [2, 3, 1, 0]
    assert list(in_order_of_interest(frame, []).index) == [3, 2, 1, 0]


@pytest.fixture
def write_folds(made_up: MadeUp) -> WriteFolds:
    return partial(written_folds, made_up)


def written_folds(made_up: MadeUp, folder: Path, folds: range) -> list[Metrics]:
    found = []
    for fold in folds:
        metrics = fold_metrics(made_up(CLASSES, fold, 5, 1.5, absent=["a"] if fold == 1 else []))
        (folder / f"fold_{fold}").mkdir(parents=True, exist_ok=True)
        (folder / f"fold_{fold}" / "metrics.json").write_text(json.dumps(metrics))
        found.append(metrics)
    return found


def summarise(tmp_path: Path, begin: Callable[..., list[Any]] = start) -> None:
    begin = partial(begin, tmp_path, name="all folds") if begin is start else begin
    log_summary(begin, tmp_path / "runs" / "demo-mae-0123", tmp_path)


def test_the_summary_of_a_configuration_grows_with_its_folds_and_is_not_doubled(
    write_folds: WriteFolds, tmp_path: Path
) -> None:
    identities = set()
    for done in (1, 3):
        folds = write_folds(tmp_path / "runs" / "demo-mae-0123", range(done))
        summarise(tmp_path)
        (run,) = offline_runs(tmp_path).values()  # it asserts that no name is there twice
        identities.add(run["id"])
        assert run["kind"] == "summary" and run["group"] == "a group" and run["summary"]["folds"] == done
        rows = {row["fold"]: row for row in table(run, "fold_table")}
        assert list(rows) == [*map(str, range(done)), "mean", "sd"]
        for name in ("accuracy", "pr_auc", "f1", "pr_auc/a", "recall/rare <1>"):
            scores = [metrics[name] for metrics in folds if name in metrics]
            assert [rows[str(fold)][name] for fold in range(done)] == [metrics.get(name) for metrics in folds]
            assert rows["mean"][name] == pytest.approx(np.mean(scores), abs=1e-12)
            assert run["summary"][f"mean/{name}"] == rows["mean"][name]
            if len(scores) > 1:
                assert rows["sd"][name] == pytest.approx(np.std(scores, ddof=1), abs=1e-12)
                assert run["summary"][f"sd/{name}"] == rows["sd"][name]
            else:
                assert rows["sd"][name] is None and f"sd/{name}" not in run["summary"]
    assert len(identities) == 1 and not any("support" in name or "cells" in name for name in rows["0"])


def test_other_configurations_have_summaries_of_their_own(write_folds: WriteFolds, tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_folds(tmp_path / "runs" / name, range(1))
        log_summary(partial(start, tmp_path, name=name), tmp_path / "runs" / name, tmp_path)
    runs = offline_runs(tmp_path)
    assert runs["one"]["id"] != runs["other"]["id"]


def test_a_wandb_that_fails_is_a_warning_and_leaves_the_earlier_summary(
    write_folds: WriteFolds, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_folds(tmp_path / "runs" / "demo-mae-0123", range(1))
    summarise(tmp_path)

    def failing(**_: Any) -> list[Any]:
        raise wandb.errors.CommError("no answer")

    summarise(tmp_path, failing)
    assert "could not be logged to W&B (no answer)" in caplog.text and len(offline_runs(tmp_path)) == 1


def test_without_wandb_nothing_is_drawn(cells: tuple[pd.DataFrame, list[Path]], tmp_path: Path) -> None:
    off = start(tmp_path / "out", name="off")[0]
    assert len(wandb_runs([off])) == 1
    wandb.finish()
    assert wandb_runs(no_logger(name="a", group="b", directory=tmp_path, config={})) == []
    disabled = wandb_logger("activessf", "disabled", name="a", group="b", directory=tmp_path / "none", config={})
    assert wandb_runs(disabled) == []
    log_fold([], cells[0], [tmp_path / "not there.png"] * len(cells[0]), [])
    assert not list((tmp_path / "none").rglob("*"))
