"""Sample cells of every class beside the number of its labeled cells (Fig. 1 of the paper)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from activessf.evaluation.figures.style import BLUE, GREY, RARE, class_labels, drawing
from activessf.regions.quality.drawing import Picture

_KINDS = {"common": BLUE, "other": GREY, "rare": RARE}
_LOGARITHMIC_FROM = 100  # ratio of the greatest to the least count
_LEAST = 0.7  # where a logarithmic axis begins
# Inches.
_WIDTH = 4.2  # of the bars
_ROW, _BARE_ROW = 0.56, 0.3  # with crops and without
_GAP, _BOTTOM = 0.12, 0.6


def class_distribution(
    counts: Mapping[str, int],
    samples: Mapping[str, Sequence[Picture]],
    rare: Collection[str],
    common: Collection[str],
    path: Path,
) -> None:
    """Draw labeled cells a class, the most frequent on top, each with sample crops, as PNG and PDF.

    The axis is linear, or logarithmic where a class has a hundred times the cells of another; it says which.

    Args:
        counts: Number of labeled cells of each class.
        samples: Crops by class, RGB, (H, W, 3); empty: there are none, and bars alone are drawn.
        rare: Classes drawn as rare, with a dagger and framed crops.
        common: Classes drawn as common, with an asterisk.
        path: The PNG file to write.
    """
    names = sorted(counts, key=lambda name: -counts[name])
    kinds = ["rare" if name in rare else "common" if name in common else "other" for name in names]
    labels = class_labels(names, rare, common)
    columns = max((len(samples.get(name, ())) for name in names), default=0)
    row = _ROW if columns else _BARE_ROW
    height = row * len(names)
    with drawing(path, 1, height + _BOTTOM + 0.1) as figure:
        figure.set_layout_engine("none")  # crops are square only where lengths are given
        left = _label_width(figure, labels)
        start = left + columns * row + (_GAP if columns else 0)
        figure.set_figwidth(start + _WIDTH)
        bars = _axes(figure, start, _WIDTH, height)
        distribution_panel(bars, [counts[name] for name in names], kinds)
        first = bars
        if columns:
            first = _axes(figure, left, columns * row, height)
            samples_panel(first, [samples.get(name, ()) for name in names], kinds, columns)
            bars.set_yticks([])
        first.set_yticks(range(len(names)), labels)
        for label, kind in zip(first.get_yticklabels(), kinds, strict=True):
            label.set_color(RARE if kind == "rare" else "black")


def distribution_panel(axes: Axes, counts: Sequence[int], kinds: Sequence[str]) -> None:
    """Draw a bar a class with its count and its share of all cells.

    Args:
        axes: To draw into; row i is at y = i, counted from the top.
        counts: Labeled cells of each class.
        kinds: `rare`, `common` or `other` of each class.
    """
    axes.barh(range(len(counts)), counts, 0.7, color=[_KINDS[kind] for kind in kinds])
    total = sum(counts)
    for row, count in enumerate(counts):
        text = f"{count:,} ({count / total:.1%})"
        place = max(count, _LEAST), row  # a logarithmic axis has no 0
        axes.annotate(text, place, (3, 0), textcoords="offset points", va="center", fontsize=8)
    _set_rows(axes, len(counts))
    logarithmic = max(counts) >= _LOGARITHMIC_FROM * max(1, min(counts))
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(_LEAST, max(counts) ** 1.35)
    else:
        axes.set_xlim(0, 1.35 * max(counts))  # numbers stand beside the bars
    axes.set_xlabel(f"labeled cells, {'logarithmic' if logarithmic else 'linear'} axis; {total:,} in all")
    shown = [kind for kind in _KINDS if kind in kinds]
    if len(shown) > 1:
        axes.legend([Patch(color=_KINDS[kind]) for kind in shown], shown, loc="lower right", frameon=False)


def samples_panel(axes: Axes, samples: Sequence[Sequence[Picture]], kinds: Sequence[str], columns: int) -> None:
    """Draw a row of crops a class, each in a square of side 1 as large as it fits; those of rare classes are framed.

    Args:
        axes: To draw into; row i is at y = i, counted from the top.
        samples: Crops of each class, RGB, (H, W, 3).
        kinds: `rare`, `common` or `other` of each class.
        columns: Crops in a row, at most.
    """
    for row, (crops, kind) in enumerate(zip(samples, kinds, strict=True)):
        for column, pixels in enumerate(crops):
            longest = max(pixels.shape[:2])
            high, wide = (0.92 * side / longest for side in pixels.shape[:2])
            x, y = column + 0.5 - wide / 2, row - high / 2
            axes.imshow(pixels, extent=(x, x + wide, y + high, y), aspect="auto", interpolation="antialiased")
            if kind == "rare":
                axes.add_patch(Rectangle((x, y), wide, high, fill=False, edgecolor=RARE, linewidth=1.4))
    axes.set_xlim(0, columns)
    axes.set_xticks([])
    _set_rows(axes, len(samples))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _set_rows(axes: Axes, number: int) -> None:
    axes.set_ylim(number - 0.5, -0.5)
    axes.set_yticks([])


def _axes(figure: Figure, left: float, width: float, height: float) -> Axes:
    """Axes at a place in inches, above the room for the axis' title."""
    whole_width, whole_height = figure.get_size_inches()
    return figure.add_axes((left / whole_width, _BOTTOM / whole_height, width / whole_width, height / whole_height))


def _label_width(figure: Figure, labels: Sequence[str]) -> float:
    """Inches that the longest of the names at an axis takes."""
    texts = [figure.text(0, 0, label) for label in labels]
    widest = max(text.get_window_extent().width for text in texts)
    for text in texts:
        text.remove()
    return float(widest / figure.dpi) + 0.15
