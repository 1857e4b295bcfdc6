from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from pictures import assert_is_drawn
from sklearn.metrics import confusion_matrix

from activessf.evaluation.figures.comparison import comparison
from activessf.evaluation.figures.confusion import confusion_counts, confusion_panel
from activessf.evaluation.runs import collect_runs

WriteRun = Callable[..., Path]
CLASSES = ["HL-MK", "P-MK", "IMK", "CA-MK", "G-MK", "PP-MK", "NN-MK", "N-MK", "S-MK", "MMK", "MR-MK"]


def test_confusion_is_counted_over_all_folds(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", skill=1)
    run = collect_runs(tmp_path)[0][0]
    labels = np.concatenate([fold.predictions["label"].to_numpy(str) for fold in run.folds.values()])
    predicted = np.concatenate([fold.predictions["predicted"].to_numpy(str) for fold in run.folds.values()])
    assert np.array_equal(confusion_counts(run, CLASSES), confusion_matrix(labels, predicted, labels=CLASSES))


def test_the_drawn_matrix_is_normalised_by_true_class(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", skill=1, folds=[0], absent={0: ["HL-MK"]})
    run = collect_runs(tmp_path)[0][0]
    axes = Figure().subplots()
    image = confusion_panel(axes, confusion_counts(run, CLASSES), CLASSES, rows_named=True)
    table = run.folds[0].predictions
    expected = confusion_matrix(table["label"], table["predicted"], labels=CLASSES, normalize="true")
    assert np.allclose(np.asarray(image.get_array()), expected)
    assert [text.get_text() for text in axes.texts if text.get_position()[1] == 0] == ["no test cell"]
    texts = {
        (round(t.get_position()[1]), round(t.get_position()[0])): t.get_text()
        for t in axes.texts
        if "%" in t.get_text()
    }
    counts = confusion_matrix(table["label"], table["predicted"], labels=CLASSES)
    assert texts == {
        (row, column): f"{expected[row, column]:.0%}\n{counts[row, column]}" for row, column in np.argwhere(counts > 0)
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == CLASSES


def test_names_that_look_like_formulas_and_absent_classes_are_drawn(write_run: WriteRun, tmp_path: Path) -> None:
    counts = {"a$b$": 20, "_c": 6, r"$\frac{$": 4, "a very long name of a class, with <b>marks</b> " * 3: 3, "a&b": 1}
    for name, selection in (("mae-0", "none"), ("mae-1", "activessf")):
        write_run(
            name, "mae", selection, folds=[0, 1], counts=counts, rare=["_c"], common=["a$b$"], title=f"_$x$ {name}"
        )
    comparison(collect_runs(tmp_path)[0], list(counts), {"_c"}, {"a$b$"}, tmp_path / "comparison.png")
    assert_is_drawn(tmp_path / "comparison.png")
