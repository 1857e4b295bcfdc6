"""Figures of an audit: the map three times over, by prototype, by decision and by class.

Colours are Okabe and Ito's, told apart by colour-blind readers too; where there are more groups than colours, the
shape of the marks changes with every round of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from activessf.manifests import replacing
from activessf.selection.audit.decided import Decided
from activessf.selection.audit.projection import CANDIDATE, LABELED
from activessf.selection.audit.truth import NOT_A_LABEL

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
KEPT, DROPPED = "#0072B2", "#D55E00"
_MARKERS = ("o", "^", "s", "D", "v", "P")
_REST = "#D0D5DB"
_MOST_GROUPS = 28
_DPI = 130


def draw_map(decided: Decided, labels: Sequence[str], places: pd.DataFrame, path: Path) -> None:
    """Draw the map as a PNG of three panels.

    Candidates by nearest prototype; candidates by decision; labeled cells by class, and behind them as small marks the
    candidates whose true class is known. Rare classes have a dark rim.

    Args:
        decided: The decision.
        labels: Classes of the labeled cells, n.
        places: What `projection.project` gave, not empty.
        path: The file to write.
    """
    points = places[places["part"] == CANDIDATE]
    cells = places[places["part"] == LABELED]
    rows = decided.candidates.iloc[points["row"].to_numpy(int)]
    figure = Figure(figsize=(17.5, 6.6), layout="constrained")
    by_prototype, by_decision, by_class = figure.subplots(1, 3)
    names = [f"{row.prototype}: {row.stands_for}" for row in decided.prototypes.itertuples()]
    numbered = dict(enumerate(names))
    _scatter(by_prototype, points, [numbered.get(number, "none") for number in rows["prototype"]], names, 9)
    by_prototype.set_title("Candidates by nearest prototype (and the class it stands for)")
    _draw_decision(by_decision, points, rows["kept"].to_numpy(bool))
    known = ~rows["truth"].isin(NOT_A_LABEL).to_numpy(bool)
    by_class.scatter(points["x"][~known], points["y"][~known], s=4, color=_REST, linewidth=0)
    _scatter(by_class, points[known], rows["truth"][known].tolist(), decided.classes, 8, decided.rare, legend=False)
    found = np.array(labels, object)[cells["row"].to_numpy(int)].tolist()
    _scatter(by_class, cells, found, decided.classes, 30, decided.rare)
    by_class.set_title("Labeled cells (large) and known candidates by class")
    for axes in (by_prototype, by_decision, by_class):
        axes.set(xticks=[], yticks=[], xlabel=None, ylabel=None)
        axes.spines[:].set_color("#8c98a5")
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png", facecolor="white")


def style(number: int) -> dict[str, Any]:
    """Colour and marker of a group by its number."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": _MARKERS[number // len(COLOURS) % len(_MARKERS)]}


def plain(text: str, longest: int = 28) -> str:
    """Text in which matplotlib finds no formula, short enough for a legend."""
    return (text if len(text) <= longest else text[: longest - 3] + "...").replace("$", r"\$")


def _draw_decision(axes: Axes, points: pd.DataFrame, kept: NDArray[np.bool_]) -> None:
    for chosen, colour, marker, label in ((~kept, DROPPED, "x", "dropped"), (kept, KEPT, "o", "kept")):
        lines = {"linewidth": 0.8} if marker == "x" else {"linewidth": 0}
        x, y = points["x"][chosen], points["y"][chosen]
        axes.scatter(x, y, s=11, color=colour, marker=marker, label=f"{label}, {int(chosen.sum())}", **lines)
    axes.set_title("Candidates by decision")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, frameon=False)


def _scatter(
    axes: Axes,
    points: pd.DataFrame,
    groups: Sequence[str],
    names: Sequence[str],
    size: float,
    rimmed: Sequence[str] = (),
    legend: bool = True,
) -> None:
    """Points in the styles of their groups, some with a dark rim; what is in none of the first groups is grey."""
    member = np.array(groups, object)
    shown = list(names)[:_MOST_GROUPS]
    rest = ~np.isin(member, shown)
    axes.scatter(points["x"][rest], points["y"][rest], s=size, color=_REST, linewidth=0)
    for number, name in enumerate(shown):
        own = member == name
        rim = {"edgecolor": "black", "linewidth": 1.0, "zorder": 3} if name in rimmed else {"linewidth": 0}
        label = plain(name) if legend else None
        axes.scatter(points["x"][own], points["y"][own], s=size, label=label, **style(number), **rim)
    if legend and shown:
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=5, fontsize=8, frameon=False,
            handletextpad=0.2, columnspacing=0.9, markerscale=1.4,
        )  # fmt: skip
