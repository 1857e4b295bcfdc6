import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, brier_score_loss, f1_score

from activessf.errors import InputError
from activessf.evaluation.metrics import check_predictions, class_names, fold_metrics, read_predictions

PATH = Path("predictions.csv")


def table(labels: list[str], predicted: list[str], **probabilities: list[float]) -> pd.DataFrame:
    frame = pd.DataFrame({"image": "a.png", "x": 0.0, "y": 0.0, "width": 1.0, "height": 1.0, "group": "", "fold": 0,
                          "label": labels, "predicted": predicted})  # fmt: skip
    return frame.assign(**{f"p_{name}": values for name, values in probabilities.items()})


def four_cells() -> pd.DataFrame:
    return table(
        ["a", "a", "b", "b"], ["a", "b", "b", "b"], a=[0.9, 0.4, 0.45, 0.1], b=[0.05, 0.5, 0.5, 0.8],
        c=[0.05, 0.1, 0.05, 0.1],
    )  # fmt: skip


def naive_average_precision(positive: list[bool], scores: list[float]) -> float:
    """Mean over thresholds (distinct scores, falling) of precision weighted by the gain in recall."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        above = [p for p, s in zip(positive, scores, strict=True) if s >= threshold]
        recall = sum(above) / sum(positive)
        total += (recall - before) * sum(above) / len(above)
        before = recall
    return total


def test_four_cells_give_the_numbers_worked_out_by_hand() -> None:
    metrics = fold_metrics(four_cells())
    assert metrics["accuracy"] == 0.75
    # a: precision 1, recall 1/2; b: precision 2/3, recall 1; c has no test cell and is in no mean.
    assert metrics["f1/a"] == pytest.approx(2 / 3) and metrics["f1/b"] == pytest.approx(4 / 5)
    assert metrics["f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert metrics["precision/b"] == pytest.approx(2 / 3) and metrics["recall/a"] == 0.5
    assert metrics["balanced_accuracy"] == 0.75
    # a falls .9 (hit), .45 (miss), .4 (hit): 1/2 * 1 + 1/2 * 2/3. b: .8 hit, then .5 twice, one of them a hit.
    assert metrics["pr_auc/a"] == pytest.approx(5 / 6) and metrics["pr_auc/b"] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert metrics["pr_auc"] == pytest.approx(5 / 6)
    assert metrics["support/a"] == 2 and metrics["support/c"] == 0 and metrics["cells"] == 4


def test_a_class_without_test_cells_is_named_and_has_no_figures() -> None:
    metrics = fold_metrics(four_cells())
    assert metrics["absent"] == ["c"]
    assert {key for key in metrics if key.endswith("/c")} == {"support/c"}
    json.dumps(metrics, allow_nan=False)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 40))
def test_metrics_agree_with_sklearn_and_the_naive_loop(seed: int, num_classes: int, cells: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"c{index}" for index in range(num_classes)]
    # Few decimals, so that scores tie.
    scores = np.round(rng.dirichlet(np.ones(num_classes), cells), 1) + 0.01
    scores /= scores.sum(axis=1, keepdims=True)
    labels = rng.choice(names, cells).tolist()
    predicted = [names[index] for index in scores.argmax(axis=1)]
    metrics = fold_metrics(table(labels, predicted, **{n: scores[:, i].tolist() for i, n in enumerate(names)}))
    present = sorted(set(labels))
    expected = {}
    for name in present:
        positive = [label == name for label in labels]
        expected[name] = naive_average_precision(positive, scores[:, names.index(name)].tolist())
        assert metrics[f"pr_auc/{name}"] == pytest.approx(expected[name])
        assert expected[name] == pytest.approx(average_precision_score(positive, scores[:, names.index(name)]))
    assert metrics["pr_auc"] == pytest.approx(sum(expected.values()) / len(present))
    assert metrics["f1"] == pytest.approx(f1_score(labels, predicted, labels=present, average="macro", zero_division=0))
    recalls = [sum(p == n for lab, p in zip(labels, predicted, strict=True) if lab == n) for n in present]
    means = np.mean([hits / labels.count(n) for hits, n in zip(recalls, present, strict=True)])
    assert metrics["balanced_accuracy"] == pytest.approx(means)
    if set(predicted) <= set(labels) and len(present) > 1:
        assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert sum(metrics[f"support/{name}"] for name in names) == cells  # type: ignore[misc]


def test_metrics_are_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    scores = rng.dirichlet(np.ones(3), 30)
    names = ["1", "NA", "b c"]
    frame = table(rng.choice(names, 30).tolist(), [names[i] for i in scores.argmax(axis=1)],
                  **{n: scores[:, i].tolist() for i, n in enumerate(names)})  # fmt: skip
    frame.to_csv(tmp_path / "predictions.csv", index=False)
    assert fold_metrics(read_predictions(tmp_path / "predictions.csv")) == fold_metrics(frame)


def test_class_order_is_that_of_the_probability_columns() -> None:
    assert class_names(table(["b"], ["b"], z=[0.0], b=[1.0], a=[0.0])) == ["z", "b", "a"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p_a": [0.9, 0.4, 0.45, 0.5]}, "row 4: the probabilities sum to 1.4"),
        ({"p_a": [0.9, float("nan"), 0.45, 0.1]}, "row 2: probabilities must be numbers"),
        ({"p_a": ["0.9", "", "0.45", "0.1"]}, "row 2: probabilities must be numbers"),
        ({"p_a": [1.9, 0.4, 0.45, 0.1], "p_b": [-0.95, 0.5, 0.5, 0.8]}, "row 1: probabilities must be numbers in 0..1"),
        ({"label": ["a", "a", "x", "b"]}, "row 3: label 'x' is no class; the probability columns name a, b, c"),
        ({"predicted": ["a", "", "b", "b"]}, "row 2: predicted '' is no class"),
    ],
)
def test_unusable_predictions_are_refused_with_the_row(change: dict[str, list[object]], message: str) -> None:
    with pytest.raises(InputError, match=r"predictions\.csv") as error:
        check_predictions(four_cells().assign(**change), PATH)
    assert message in str(error.value)


def test_predictions_without_cells_or_probabilities_are_refused() -> None:
    with pytest.raises(InputError, match="no test cell"):
        check_predictions(four_cells().iloc[:0], PATH)
    with pytest.raises(InputError, match="no probability column"):
        check_predictions(four_cells().drop(columns=["p_a", "p_b", "p_c"]), PATH)


def one_class_correlation(labels: list[str], predicted: list[str]) -> float:
    """Matthews' coefficient of many classes (Gorodkin 2004): correlation of the one-hot tables, summed over classes."""
    names = sorted({*labels, *predicted})
    truth = np.array([[label == name for name in names] for label in labels], float)
    decision = np.array([[label == name for name in names] for label in predicted], float)
    truth, decision = truth - truth.mean(axis=0), decision - decision.mean(axis=0)
    scale = np.sqrt((truth**2).sum() * (decision**2).sum())
    return float((truth * decision).sum() / scale) if scale else 0.0


def naive_auroc(positive: list[bool], scores: list[float]) -> float:
    """Share of pairs of a positive and a negative cell that are in the right order; ties are half a pair."""
    above = [s for s, p in zip(scores, positive, strict=True) if p]
    below = [s for s, p in zip(scores, positive, strict=True) if not p]
    return sum((a > b) + (a == b) / 2 for a in above for b in below) / (len(above) * len(below))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 30))
def test_further_metrics_are_those_of_naive_loops_and_sklearn(seed: int, num_classes: int, cells: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"c{index}" for index in range(num_classes)]
    scores = np.round(rng.dirichlet(np.ones(num_classes), cells), 1) + 0.01
    scores /= scores.sum(axis=1, keepdims=True)
    labels = rng.choice(names, cells).tolist()
    predicted = [names[index] for index in scores.argmax(axis=1)]
    metrics = fold_metrics(table(labels, predicted, **{n: scores[:, i].tolist() for i, n in enumerate(names)}))
    json.dumps(metrics, allow_nan=False)
    assert metrics["mcc"] == pytest.approx(one_class_correlation(labels, predicted), abs=1e-9)
    present = sorted(set(labels))
    brier, auroc = {}, {}
    for name in present:
        positive = [label == name for label in labels]
        column = scores[:, names.index(name)].tolist()
        brier[name] = float(brier_score_loss([int(true) for true in positive], column, pos_label=1))
        assert metrics[f"brier/{name}"] == pytest.approx(brier[name])
        if not all(positive):
            auroc[name] = naive_auroc(positive, column)
            assert metrics[f"auroc/{name}"] == pytest.approx(auroc[name])
    assert metrics["brier"] == pytest.approx(sum(brier.values()) / len(present))
    if auroc:
        assert metrics["auroc"] == pytest.approx(sum(auroc.values()) / len(auroc))
    else:
        assert len(present) == 1 and not [name for name in metrics if name.startswith("auroc")]
    assert metrics["class_ece"] == pytest.approx(
        sum(metrics[f"class_ece/{name}"] for name in present) / len(present)  # type: ignore[misc]
    )


def test_calibration_of_four_cells_is_worked_out_by_hand() -> None:
    metrics = fold_metrics(four_cells())
    # Highest probabilities .9 (right), .5 (wrong), .5 (right), .8 (right), in bins of 1/15: .5 twice in one.
    assert metrics["ece"] == pytest.approx((0.1 + abs(1 - 1.0) + 0.2) / 4)
    # Class b: .05 and .8 alone, .5 twice: one of them is a cell of b.
    assert metrics["class_ece/b"] == pytest.approx((0.05 + 0.2 + abs(1 - 1.0)) / 4)
    assert metrics["brier/b"] == pytest.approx((0.05**2 + 0.5**2 + 0.5**2 + 0.2**2) / 4)
