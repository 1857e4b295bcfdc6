"""Figures of a report: class distribution, confusion matrices, PR-AUC by class (Fig. 3 of the paper)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from activessf.evaluation.runs import Run
from activessf.evaluation.statistics import mean_and_deviation
from activessf.evaluation.tables.table import marked_class
from activessf.manifests import replacing

DPI = 150
_LONG_NAME = 12  # characters; slanted, longer names would push the panels apart
# Okabe and Ito's palette, told apart by colour-blind readers too; its yellow is too pale for bars on white.
_BLUE, _ORANGE, _GREEN, _SKY, _VERMILLION, _PURPLE = "#0072B2", "#E69F00", "#009E73", "#56B4E9", "#D55E00", "#CC79A7"
_GREY = "#8C8C8C"
SERIES = (_GREY, _SKY, _ORANGE, _BLUE, _GREEN, _PURPLE, _VERMILLION)
# Fonts that know Chinese, Japanese and Korean class names, where a machine has one of them.
_FALLBACK_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "Microsoft YaHei", "PingFang SC")


def class_distribution(counts: Mapping[str, int], rare: Collection[str], common: Collection[str], path: Path) -> None:
    """Labeled cells a class, the most frequent on top, as a PNG at 150 dpi.

    Args:
        counts: Number of labeled cells of each class.
        rare: Classes drawn as rare.
        common: Classes drawn as common.
        path: File to write.
    """
    names = sorted(counts, key=lambda name: -counts[name])
    kinds = ["rare" if name in rare else "common" if name in common else "other" for name in names]
    colours = {"common": _BLUE, "other": _GREY, "rare": _VERMILLION}
    with _style():
        figure = Figure(figsize=(8, 1.3 + 0.3 * len(names)), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh(range(len(names)), [counts[name] for name in names], color=[colours[kind] for kind in kinds])
        axes.bar_label(bars, padding=3)
        axes.set_yticks(range(len(names)), [_plain(marked_class(name, rare, common)) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.margins(x=0.08)
        axes.set_xlabel("labeled cells")
        shown = [kind for kind in colours if kind in kinds]
        if len(shown) > 1:
            axes.legend([Patch(color=colours[kind]) for kind in shown], shown, loc="lower right", frameon=False)
        _save(figure, path)


def confusion_matrices(runs: Sequence[Run], classes: Sequence[str], path: Path) -> None:
    """Confusion matrices of some runs side by side, pooled over folds, as a PNG at 150 dpi.

    Cells show the percentage of the true class (row) and, below it, the number of test cells.

    Args:
        runs: The runs, one panel each.
        classes: Classes in the order of rows and columns.
        path: File to write.
    """
    side = max(3.2, 0.52 * len(classes))
    longest = max(map(len, classes))
    with _style():
        figure = Figure(
            figsize=(side * len(runs) + 0.09 * longest + 1.4, side + 0.08 * longest + 0.9), layout="constrained"
        )
        panels = figure.subplots(1, len(runs), squeeze=False)[0]
        for column, (run, axes) in enumerate(zip(runs, panels, strict=True)):
            image = _confusion_panel(axes, confusion_counts(run, classes), classes)
            folds = ", ".join(map(str, run.folds))
            axes.set_title(_plain(_wrapped(run.title, 5 * len(classes) + 14)) + f"\nfold {folds}", fontsize=10)
            if column:
                axes.set_yticklabels([])
            else:
                axes.set_ylabel("true class")
        colour_bar = figure.colorbar(image, ax=panels, shrink=0.6, pad=0.01, format="{x:.0%}")
        colour_bar.set_label("share of the true class")
        _save(figure, path)


def pr_auc_by_class(
    runs: Sequence[Run], classes: Sequence[str], rare: Collection[str], common: Collection[str], path: Path
) -> None:
    """PR-AUC of each class as grouped bars with the sample sd over folds as whiskers, rare classes first; PNG, 150 dpi.

    Args:
        runs: The runs, one bar a class each; seven at most, since there are seven colours.
        classes: Classes in the order of tables.
        rare: Classes on top, on a tinted ground.
        common: Classes at the bottom.
        path: File to write.
    """
    classes = sorted(classes, key=lambda name: (name not in rare, name in common))
    thickness = 0.8 / len(runs)
    reach = 0.0
    with _style():
        figure = Figure(figsize=(9, 1.6 + len(classes) * (0.22 + 0.14 * len(runs))), layout="constrained")
        axes = figure.subplots()
        for index, run in enumerate(runs):
            scores = [mean_and_deviation(_scores(run, name)) for name in classes]
            reach = max(reach, *(100 * np.nansum(score) for score in scores))
            axes.barh(
                np.arange(len(classes)) + (index + 0.5) * thickness - 0.4,
                [100 * np.nan_to_num(mean) for mean, _ in scores],
                xerr=[100 * deviation for _, deviation in scores],
                height=0.9 * thickness,
                color=SERIES[index],
                error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#222222"},
            )
        marked = sum(name in rare for name in classes)
        if 0 < marked < len(classes):
            axes.axhspan(-0.5, marked - 0.5, color=_VERMILLION, alpha=0.08, linewidth=0, zorder=0)
        axes.set_yticks(range(len(classes)), [_plain(marked_class(name, rare, common)) for name in classes])
        axes.set_ylim(len(classes) - 0.5, -0.5)
        axes.set_xlim(0, max(102, reach + 2))  # whiskers may pass 100
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("PR-AUC (%), mean and sample standard deviation over folds")
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.8)
        axes.set_axisbelow(True)
        handles = [Patch(color=colour) for colour, _ in zip(SERIES, runs, strict=False)]
        columns = 1 if max(len(run.title) for run in runs) > 40 else 2
        titles = [_plain(_wrapped(run.title, 95 // columns)) for run in runs]
        figure.legend(handles, titles, loc="outside upper left", ncols=columns, frameon=False)
        _save(figure, path)


def confusion_counts(run: Run, classes: Sequence[str]) -> np.ndarray:
    """Test cells by true class (row) and predicted class (column) over all folds of a run, int (classes, classes)."""
    position = {name: index for index, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), int)
    for result in run.folds.values():
        rows, columns = (result.predictions[column].map(position).to_numpy(int) for column in ("label", "predicted"))
        np.add.at(counts, (rows, columns), 1)
    return counts


def _confusion_panel(axes: Any, counts: np.ndarray, classes: Sequence[str]) -> Any:
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts > 0):
        share = shares[row, column]
        colour = "white" if share > 0.55 else "black"
        axes.text(
            column, row, f"{share:.0%}\n{counts[row, column]}", ha="center", va="center", fontsize=6.5, color=colour
        )
    names = [_plain(name) for name in classes]
    if max(map(len, classes)) > _LONG_NAME:
        axes.set_xticks(range(len(classes)), names, rotation=90)
    else:
        axes.set_xticks(range(len(classes)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), names)
    axes.set_xlabel("predicted class")
    axes.set_xticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#E5E5E5", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[["top", "right"]].set_visible(True)
    return image


def _scores(run: Run, name: str) -> list[float]:
    found = (result.metrics.get(f"pr_auc/{name}") for result in run.folds.values())
    return [value for value in found if isinstance(value, float)]


def _style() -> Any:
    known = set(font_manager.get_font_names())
    return matplotlib.rc_context(
        {
            "font.family": ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in known)],
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )


def _plain(text: str) -> str:
    """Text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")


def _wrapped(text: str, width: int) -> str:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", facecolor="white", bbox_inches="tight", pad_inches=0.1)
