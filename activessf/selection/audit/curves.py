"""The figure and the page of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from activessf import __version__
from activessf.manifests import write_table, write_text
from activessf.selection.audit.figures import plain, save, style
from activessf.selection.audit.page import environment
from activessf.selection.audit.sweep import FIGURES, Sweep, means

ROWS_FILE, MEANS_FILE, FIGURE_FILE, PAGE = "audits.csv", "means.csv", "sweep.png", "index.html"
TITLES = {
    "kept": "Kept",
    "rare_recall": "Rare recall, all known, %",
    "rare_new_recall": "Rare recall, unseen cells, %",
    "rare_planted_recall": "Rare recall, planted, %",
    "planted_recall": "Recall, planted, %",
    "purity": "Purity, %",
    "agreement": "Right prototype, %",
    "strangers": "Of no class, %",
    "threshold": "Mean threshold",
}
NUMBERS = ("kept", "threshold")  # all others are shares
_DRAWN = ("kept", "rare_recall", "rare_new_recall", "rare_planted_recall", "purity")


def write_sweeps(sweeps: Sequence[Sweep], output: Path) -> Path:
    """Write `index.html`, and a folder a sweep with `audits.csv`, `means.csv` and `sweep.png`.

    Returns:
        The page.
    """
    pages = []
    for sweep in sweeps:
        folder = output / sweep.name
        write_table(sweep.rows, folder / ROWS_FILE)
        write_table(means(sweep), folder / MEANS_FILE)
        draw_sweep(sweep, folder / FIGURE_FILE)
        table = as_text(means(sweep))
        pages.append(
            {"title": sweep.title, "name": sweep.name, "rare": sweep.rare, "columns": list(table), **_cells(table)}
        )
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    files = {"rows": ROWS_FILE, "means": MEANS_FILE, "figure": FIGURE_FILE}
    text = environment().get_template("sweep.html.jinja").render(
        sweeps=pages, files=files, made=made, version=__version__
    )  # fmt: skip
    write_text(text, output / PAGE)
    return output / PAGE


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """What `sweep.means` gave as people read it: shares in percent, mean and standard deviation in one cell."""
    shown = pd.DataFrame(
        {"Selection": table["series"], "alpha": table["alpha"].map(_short), "Folds": table["folds"].map(str)}
    )
    for name in FIGURES:
        factor, digits = (1, ".4g") if name in NUMBERS else (100, ".1f")
        pairs = zip(factor * table[name].astype(float), factor * table[f"{name}_sd"].astype(float), strict=True)
        shown[TITLES[name]] = [_spread(mean, deviation, digits) for mean, deviation in pairs]
    return shown


def draw_sweep(sweep: Sweep, path: Path) -> None:
    """Draw kept counts, recall of rare classes and purity against alpha (above) and mean threshold (below), as PNG.

    Points are means over folds, bars standard deviations; a selection without alpha is a broken line above.
    """
    table = means(sweep)
    names = list(dict.fromkeys(table["series"]))
    height = 6.6 + 0.24 * (len(names) // 3 + 1)
    figure = Figure(figsize=(18, height), layout="constrained")
    panels = figure.subplots(2, len(_DRAWN), squeeze=False)
    for row, x in zip(panels, ("alpha", "threshold"), strict=True):
        for axes, y in zip(row, _DRAWN, strict=True):
            for number, name in enumerate(names):
                _draw_series(axes, table[table["series"] == name], x, y, style(number))
            axes.set(xlabel="alpha (Eq. 8)" if x == "alpha" else "mean threshold, feature units", title=TITLES[y])
            axes.set_ylim(bottom=0, top=None if y in NUMBERS else 103)
            axes.grid(color="#e6eaee")
            axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    save(figure, path)


def _draw_series(axes: Axes, table: pd.DataFrame, x: str, y: str, look: dict[str, Any]) -> None:
    factor = 1 if y in NUMBERS else 100
    label = plain(str(table["series"].iloc[0]), 70)
    table = table.sort_values(x)
    values, spread = factor * table[y].astype(float), factor * table[f"{y}_sd"].astype(float)
    if table[x].isna().all():
        # Without alpha or threshold there is a level only; the label goes with it all the same.
        level = float(values.mean()) if x == "alpha" else np.nan
        axes.axhline(level, color=look["color"], linestyle="--", linewidth=1.4, label=label)
        return
    axes.errorbar(table[x], values, spread.fillna(0), linewidth=1.4, markersize=5, capsize=2, label=label, **look)


def _cells(table: pd.DataFrame) -> dict[str, Any]:
    return {"rows": table.to_numpy(object).tolist()}


def _spread(mean: float, deviation: float, digits: str) -> str:
    if np.isnan(mean):
        return "-"
    return f"{mean:{digits}}" if np.isnan(deviation) else f"{mean:{digits}} \N{PLUS-MINUS SIGN} {deviation:{digits}}"


def _short(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:g}"
