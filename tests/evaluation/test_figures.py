from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from sklearn.metrics import confusion_matrix

from activessf.evaluation.figures import class_distribution, confusion_counts, confusion_matrices, pr_auc_by_class
from activessf.evaluation.runs import collect_runs

WriteRun = Callable[..., Path]


def assert_is_a_picture(path: Path) -> None:
    image = cv2.imread(str(path))
    assert image is not None and min(image.shape[:2]) > 150
    assert image.std() > 5 and (image[0] == 255).all()


def test_confusion_is_counted_over_all_folds(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", skill=1)
    run = collect_runs(tmp_path)[0][0]
    classes = [
        "HL-MK",
        *(name for name in ("P-MK", "IMK", "CA-MK", "G-MK", "PP-MK", "NN-MK", "N-MK", "S-MK", "MMK", "MR-MK")),
    ]
    labels = np.concatenate([fold.predictions["label"].to_numpy(str) for fold in run.folds.values()])
    predicted = np.concatenate([fold.predictions["predicted"].to_numpy(str) for fold in run.folds.values()])
    assert np.array_equal(confusion_counts(run, classes), confusion_matrix(labels, predicted, labels=classes))


def test_names_that_look_like_formulas_and_absent_classes_are_drawn(write_run: WriteRun, tmp_path: Path) -> None:
    counts = {"a$b$": 20, "_c": 6, r"$\frac{$": 4, "a&b": 1}
    for name, selection in (("mae-0", "none"), ("mae-1", "activessf")):
        write_run(
            name, "mae", selection, folds=[0, 1], counts=counts, rare=["_c"], common=["a$b$"], title=f"_$x$ {name}"
        )
    runs = collect_runs(tmp_path)[0]
    class_distribution(counts, {"_c"}, {"a$b$"}, tmp_path / "distribution.png")
    confusion_matrices(runs, list(counts), tmp_path / "confusion.png")
    pr_auc_by_class(runs, list(counts), {"_c"}, {"a$b$"}, tmp_path / "bars.png")
    for name in ("distribution", "confusion", "bars"):
        assert_is_a_picture(tmp_path / f"{name}.png")
    assert not list(tmp_path.glob(".*"))
