"""A figure of a pretraining: loss, learning rate and what the probe found, over optimiser steps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from activessf.manifests import read_table, replacing

CURVES_FILE = "curves.png"
# Okabe and Ito's colours, told apart by colour-blind readers too.
_BLUE, _ORANGE, _GREEN = "#0072B2", "#E69F00", "#009E73"
_PROBE = (
    ("probe/knn_accuracy", "k-NN accuracy", _BLUE, "-"),
    ("probe/knn_f1", "k-NN F1", _BLUE, "--"),
    ("probe/linear_accuracy", "linear accuracy", _ORANGE, "-"),
    ("probe/linear_f1", "linear F1", _ORANGE, "--"),
)
_DPI = 130


def draw_curves(history: Path, path: Path) -> None:
    """Draw the curves as a PNG.

    Args:
        history: The CSV history of a pretraining, columns `step`, `pretrain/loss`, `pretrain/lr`, `probe/...`; one that
            is not there leaves its panel empty.
        path: The file to write.
    """
    table = read_table(history, ["step"]).apply(pd.to_numeric, errors="coerce")
    figure = Figure(figsize=(8, 8.5), layout="constrained")
    loss, rate, probe, spread = figure.subplots(4, 1, sharex=True, height_ratios=(3, 1.5, 3, 1.5))
    _line(loss, table, "pretrain/loss", "loss", _BLUE, "-")
    _line(rate, table, "pretrain/lr", "learning rate", _GREEN, "-")
    for name, label, colour, style in _PROBE:
        _line(probe, table, name, label, colour, style, scale=100)
    _line(spread, table, "probe/feature_std", "feature spread", _GREEN, "-")
    loss.set_ylabel("loss")
    rate.set_ylabel("learning rate")
    probe.set(ylabel="held-out training cells, %", ylim=(0, 103))
    spread.set(ylabel="feature spread", xlabel="optimiser steps", ylim=(0, 1))
    if probe.lines:
        probe.legend(frameon=False, ncols=4, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.16))
    for axes in (loss, rate, probe, spread):
        axes.grid(color="#E6E6E6")
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png", facecolor="white")


def _line(axes: Axes, table: pd.DataFrame, name: str, label: str, colour: str, style: str, scale: float = 1.0) -> None:
    """A curve of the rows that have a value, with dots where they are few."""
    if name not in table:
        return
    rows = table.dropna(subset=name)
    marker = "o" if len(rows) <= 30 else ""
    y = scale * rows[name]
    axes.plot(rows["step"], y, style, color=colour, label=label, marker=marker, markersize=3)
    if name.startswith("probe/") and len(rows):
        # The untrained encoder: what is to be beaten.
        axes.axhline(y.iloc[0], color=colour, linestyle=":", linewidth=0.8)
