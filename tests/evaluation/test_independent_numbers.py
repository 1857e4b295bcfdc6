"""The written tables against numbers recomputed from predictions.csv with pandas, scikit-learn and scipy alone."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    matthews_corrcoef,
    roc_auc_score,
)

from activessf.evaluation.report import write_report
from activessf.evaluation.runs import collect_runs, in_table_order
from activessf.evaluation.tables.ablation import ablation_table

WriteRun = Callable[..., Path]
COUNTS = {"big": 120, "middle": 60, "small": 25}
RUNS = {"mae + none": "mae-0", "mae + activessf": "mae-1"}


@pytest.fixture(scope="module")
def section(write_shared_run: WriteRun) -> Path:
    """The tables of two runs of five folds, with patients; one fold lacks a class."""
    for title, name in RUNS.items():
        folder = write_shared_run(
            name, "mae", title.split()[-1], counts=COUNTS, rare=["small"], common=["big"], groups=9,
            absent={3: ["small"]}, skill=2.2 if name == "mae-1" else 1.6,
        )  # fmt: skip
    runs = folder.parent
    write_report(runs, runs.parent / "report", num_resamples=2000)
    return runs.parent / "report" / "demo-quick-seed0"


@cache
def folds_of(section: Path, title: str) -> list[pd.DataFrame]:
    files = sorted((section.parents[1] / "runs" / RUNS[title]).glob("fold_*/predictions.csv"))
    return [pd.read_csv(file, keep_default_na=False) for file in files]


def one_fold(frame: pd.DataFrame) -> dict[str, float]:
    present = [name for name in COUNTS if (frame["label"] == name).any()]
    figures = {
        "accuracy": accuracy_score(frame["label"], frame["predicted"]),
        "balanced_accuracy": balanced_accuracy_score(frame["label"], frame["predicted"]),
        "mcc": matthews_corrcoef(frame["label"], frame["predicted"]),
        "f1": f1_score(frame["label"], frame["predicted"], labels=present, average="macro"),
        "ece": binned_error(
            (frame["label"] == frame["predicted"]).to_numpy(), frame[[f"p_{n}" for n in COUNTS]].max(axis=1).to_numpy()
        ),
    }
    for name in present:
        positive, scores = (frame["label"] == name).to_numpy(), frame[f"p_{name}"].to_numpy()
        figures[f"f1/{name}"] = f1_score(positive, (frame["predicted"] == name).to_numpy())
        figures[f"pr_auc/{name}"] = average_precision_score(positive, scores)
        figures[f"auroc/{name}"] = roc_auc_score(positive, scores)
        figures[f"brier/{name}"] = brier_score_loss(positive, scores)
        figures[f"class_ece/{name}"] = binned_error(positive, scores)
    for metric in ("pr_auc", "auroc", "brier", "class_ece"):
        figures[metric] = sum(figures[f"{metric}/{name}"] for name in present) / len(present)
    return {name: 100 * value for name, value in figures.items()}


def binned_error(outcome: np.ndarray, confidence: np.ndarray) -> float:
    """Expected calibration error, from scikit-learn's reliability curve of 15 bins and the cells of each."""
    frequency, mean = calibration_curve(outcome, confidence, n_bins=15)
    cells = np.histogram(confidence, np.linspace(0, 1, 16))[0]
    return float(np.sum(cells[cells > 0] * np.abs(frequency - mean)) / len(outcome))


@cache
def figures_of(section: Path, title: str) -> list[dict[str, float]]:
    return [one_fold(frame) for frame in folds_of(section, title)]


def over_folds(section: Path, title: str, metric: str) -> pd.Series:
    figures = figures_of(section, title)
    return pd.Series([found[metric] for found in figures if metric in found])


def test_overall_and_further_metrics(section: Path) -> None:
    for file, metrics in (
        ("overall.csv", ("accuracy", "pr_auc", "f1")),
        ("further_metrics.csv", ("balanced_accuracy", "mcc", "auroc", "ece", "class_ece", "brier")),
    ):
        written = pd.read_csv(section / file).set_index("run")
        for title in RUNS:
            for metric in metrics:
                values = over_folds(section, title, metric)
                assert len(values) == 5
                assert written[f"{metric}_mean"][title] == pytest.approx(values.mean()), metric
                assert written[f"{metric}_sd"][title] == pytest.approx(values.std(ddof=1)), metric


def test_classes_and_their_calibration(section: Path) -> None:
    for file, metrics in (("per_class.csv", ("pr_auc",)), ("calibration.csv", ("class_ece", "brier"))):
        written = pd.read_csv(section / file).set_index(["run", "class"])
        assert len(written) == 6
        for (title, name), row in written.iterrows():
            for metric in metrics:
                values = over_folds(section, title, f"{metric}/{name}")
                assert row["folds"] == len(values) == (4 if name == "small" else 5)
                assert row[f"{metric}_mean"] == pytest.approx(values.mean())
                assert row[f"{metric}_sd"] == pytest.approx(values.std(ddof=1))


def test_head_and_tail(section: Path) -> None:
    written = pd.read_csv(section / "long_tail.csv").set_index(["run", "part"])
    for title in RUNS:
        for part, name in (("head", "big"), ("medium", "middle"), ("tail", "small")):
            assert written.loc[(title, part), "classes"] == name
            expected = over_folds(section, title, f"pr_auc/{name}").mean()
            assert written.loc[(title, part), "pr_auc_mean"] == pytest.approx(expected)
            scores = over_folds(section, title, f"f1/{name}")
            row = written.loc[(title, part)]
            assert (row["f1_mean"], row["f1_sd"]) == pytest.approx((scores.mean(), scores.std(ddof=1)))
            assert row["folds"] == len(scores)


@pytest.mark.parametrize("by_class", [False, True])
def test_comparisons(section: Path, by_class: bool) -> None:
    written = pd.read_csv(section / ("class_comparisons.csv" if by_class else "comparisons.csv")).set_index("metric")
    expected = ["pr_auc/small", "pr_auc/middle", "pr_auc/big"] if by_class else ["accuracy", "pr_auc", "f1"]
    assert list(written.index) == expected
    corrected = {}
    for metric in expected:
        before, after = (over_folds(section, title, metric) for title in RUNS)
        n, difference = len(before), after - before
        plain = stats.ttest_rel(after, before)
        t = difference.mean() / np.sqrt((1 / n + 1 / 4) * difference.var(ddof=1))
        corrected[metric] = 2 * stats.t.sf(abs(t), n - 1)
        row = written.loc[metric]
        assert row["difference"] == pytest.approx(difference.mean())
        assert (row["t"], row["p"]) == pytest.approx((plain.statistic, plain.pvalue))
        assert row["corrected_p"] == pytest.approx(corrected[metric])
        f = n - 1
        correction = stats.chi.mean(f - 1) / np.sqrt(2) / np.sqrt(f / 2) if f > 1 else np.nan
        # E[chi of f-1 degrees] = sqrt(2) Gamma(f/2) / Gamma((f-1)/2).
        assert row["effect_size"] == pytest.approx(correction * difference.mean() / difference.std(ddof=1))
    # Holm: the smallest of m times m, the next times m - 1, never falling.
    highest = 0.0
    for rank, metric in enumerate(sorted(corrected, key=lambda name: corrected[name])):
        highest = max(highest, min(1, (len(corrected) - rank) * corrected[metric]))
        assert written["holm_p"][metric] == pytest.approx(highest)


def test_intervals(section: Path) -> None:
    """scipy's own bootstrap over the patients, with other draws."""
    written = pd.read_csv(section / "intervals.csv", keep_default_na=False).set_index(["run", "class"])
    pooled = {title: pd.concat(folds_of(section, title), ignore_index=True) for title in RUNS}
    patients = {title: list(frame.groupby("group", sort=True).indices.values()) for title, frame in pooled.items()}
    labels = {title: frame["label"].to_numpy(str) for title, frame in pooled.items()}
    scores = {title: frame[[f"p_{name}" for name in COUNTS]].to_numpy() for title, frame in pooled.items()}
    number = len(patients["mae + none"])

    def macro(title: str, rows: np.ndarray) -> float:
        truth, given = labels[title][rows], scores[title][rows]
        known = [(truth == name, given[:, column]) for column, name in enumerate(COUNTS) if (truth == name).any()]
        return 100 * sum(average_precision_score(positive, column) for positive, column in known) / len(known)

    def score(title: str, drawn: np.ndarray) -> float:
        return macro(title, np.concatenate([patients[title][index] for index in drawn]))

    def everything(title: str) -> float:
        return macro(title, np.arange(len(labels[title])))

    def bounds(statistic: Callable[[np.ndarray], float]) -> tuple[float, float]:
        result = stats.bootstrap(
            (np.arange(number),), statistic, n_resamples=400, vectorized=False, method="percentile", random_state=1
        ).confidence_interval
        return float(result.low), float(result.high)

    row = written.loc[("mae + none", "")]
    assert row["pr_auc"] == pytest.approx(everything("mae + none")) and row["units"] == number == 45
    # Four hundred resamples leave the ends of an interval of some twelve points uncertain by about half a point.
    assert (row["lower"], row["upper"]) == pytest.approx(bounds(lambda drawn: score("mae + none", drawn)), abs=1.5)

    difference = pd.read_csv(section / "comparisons.csv").set_index("metric").loc["pr_auc"]
    assert difference["pooled_difference"] == pytest.approx(everything("mae + activessf") - everything("mae + none"))
    expected = bounds(lambda drawn: score("mae + activessf", drawn) - score("mae + none", drawn))
    assert (difference["lower"], difference["upper"]) == pytest.approx(expected, abs=2)


def test_pooled_scores_and_differences_of_every_class(section: Path) -> None:
    written = pd.read_csv(section / "intervals.csv", keep_default_na=False).set_index(["run", "class"])
    differences = pd.read_csv(section / "class_comparisons.csv").set_index("class")
    for name in COUNTS:
        scores = {}
        for title in RUNS:
            pooled = pd.concat(folds_of(section, title), ignore_index=True)
            scores[title] = 100 * average_precision_score(pooled["label"] == name, pooled[f"p_{name}"])
            row = written.loc[(title, name)]
            assert float(row["pr_auc"]) == pytest.approx(scores[title]) and row["cells"] == len(pooled)
            assert float(row["lower"]) <= scores[title] <= float(row["upper"])
        gained = scores["mae + activessf"] - scores["mae + none"]
        assert differences["pooled_difference"][name] == pytest.approx(gained)


def test_the_measured_side_of_the_papers_differences(section: Path) -> None:
    written = pd.read_csv(section / "published_differences.csv").set_index("metric")
    assert list(written.index) == ["accuracy", "pr_auc", "f1"] and set(written["row"]) == {"MAE w/ ActiveSSF"}
    for metric in written.index:
        before, after = (over_folds(section, title, metric) for title in RUNS)
        assert written["measured_difference"][metric] == pytest.approx((after - before).mean())
        assert written["measured_p"][metric] == pytest.approx(stats.ttest_rel(after, before).pvalue)


def test_the_ablation(write_run: WriteRun, tmp_path: Path) -> None:
    steps = ("none", "crf", "activessf")
    folders = [
        write_run(f"mae-{step}", "mae", step, counts=COUNTS, rare=[], common=[], folds=folds, skill=1 + number)
        for number, (step, folds) in enumerate(zip(steps, (range(5), range(5), [0, 2, 3, 4]), strict=True))
    ]
    table = ablation_table(in_table_order(collect_runs(tmp_path / "runs")[0]))
    assert table is not None
    found = [
        {fold.name: one_fold(pd.read_csv(fold / "predictions.csv")) for fold in sorted(folder.glob("fold_*"))}
        for folder in folders
    ]
    for row, folds in enumerate(found):
        for metric in ("accuracy", "pr_auc", "f1"):
            values = pd.Series([figures[metric] for figures in folds.values()])
            assert table.values[f"{metric}_mean"][row] == pytest.approx(values.mean())
            assert table.values[f"{metric}_sd"][row] == pytest.approx(values.std(ddof=1))
        if row:
            gains = [figures["pr_auc"] - found[row - 1][fold]["pr_auc"] for fold, figures in folds.items()]
            assert table.values["pr_auc_gain"][row] == pytest.approx(np.mean(gains))
    assert np.isnan(table.values["pr_auc_gain"][0])


def test_the_page_shows_the_numbers_of_the_files(section: Path) -> None:
    page = (section / "index.html").read_text(encoding="utf-8")
    for title in RUNS:
        for metric in ("accuracy", "pr_auc", "f1", "mcc", "auroc", "ece", "pr_auc/small"):
            values = over_folds(section, title, metric)
            assert f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" in page
