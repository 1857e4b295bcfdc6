"""The README's picture of the pipeline, from what `make demo` wrote: `python experiments/pipeline_picture.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from hydra.utils import instantiate
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle
from numpy.typing import NDArray
from PIL import Image

from activessf.artifacts import INPUTS_FILE, files_fingerprint, fingerprint
from activessf.data.augmentations import resize
from activessf.data.images import read_image
from activessf.errors import InputError
from activessf.manifests import PROTOTYPES, REGIONS, SELECTION, read_json, read_table, replacing
from activessf.regions.boxes import Region
from activessf.regions.filtering import Steps
from activessf.selection.stage import PROTOTYPES_FILE, SELECTION_FILE, selected_crops

Pixels = NDArray[np.uint8]

_REPOSITORY = Path(__file__).resolve().parents[1]
_CHOICES = {"data": "demo", "ssl_method": "mae", "selection": "activessf"}

# All lengths of the drawing are pixels of the picture, counted from the top left.
_DPI = 100
_WIDTH, _HEIGHT = 2000, 728
_MARGIN, _GAP, _PADDING = 14, 40, 20
_BODY, _FOOTER = 108, 608  # top edges
_SMALL, _TITLE, _NUMBER = 19.5, 25, 31  # sizes of type
_INK, _FAINT, _LINE, _GROUND = "#22223B", "#5F6177", "#D9DAE5", "#F4F4FA"
_HIDDEN = 226  # grey of a hidden patch
_ACCENT, _KEPT, _DROPPED, _RARE = "#5B3FA0", "#009E73", "#B4B6C3", "#D55E00"

# Width, stages, title and where in the paper; with the gaps and margins they fill the picture's width.
_CARDS = (
    (250, "", "Stained slides", "paper III.A"),
    (466, "1", "Cell region filtering", "paper II.B, Eq. 1-3"),
    (428, "2", "Active sample selection", "paper II.C, Eq. 4-9"),
    (320, "3", "Pretraining", "MAE, paper III.B"),
    (348, "4, 5", "Fine-tune, test", "paper III.B, III.C"),
)


@dataclass(frozen=True)
class Results:
    """What the stages of one run have written.

    Attributes:
        details: run.json.
        metrics: metrics.json.
        slides: Folder that the regions' `image` is relative to.
        regions: Folder of stage 1.
        selection: Folder of stage 2.
        pretraining: Folder of stage 3.
    """

    details: Mapping[str, Any]
    metrics: Mapping[str, Any]
    slides: Path
    regions: Path
    selection: Path
    pretraining: Path


@dataclass(frozen=True)
class Card:
    """One part of the picture: a white card that spans its height.

    Attributes:
        figure: The whole picture.
        left: Left edge, pixels.
        width: Width, pixels.
    """

    figure: Figure
    left: float
    width: float

    @property
    def inner(self) -> float:
        """Width between the paddings, pixels."""
        return self.width - 2 * _PADDING

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes whose top left corner lies x pixels right of the card's padding and y below the picture's top."""
        left, bottom = self.left + _PADDING + x, _HEIGHT - y - height
        return self.figure.add_axes((left / _WIDTH, bottom / _HEIGHT, width / _WIDTH, height / _HEIGHT))

    def image(self, pixels: Pixels, x: float, y: float, width: float, height: float) -> Axes:
        """An image, (H, W, 3) or (H, W), in such axes; returns them, in the image's pixels."""
        axes = self.axes(x, y, width, height)
        axes.imshow(pixels, aspect="auto", cmap="gray", interpolation="lanczos" if len(pixels) > height else "nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color=_LINE, linewidth=_points(1))
        return axes

    def text(self, x: float, y: float, text: str, size: float = _SMALL, colour: str = _INK, **style: Any) -> None:
        """Text whose top left corner lies x pixels right of the card's padding and y below the picture's top."""
        place = (self.left + _PADDING + x) / _WIDTH, 1 - y / _HEIGHT
        self.figure.text(*place, text, fontsize=_points(size), color=colour, va=style.pop("va", "top"), **style)


def read_results(output_dir: Path, fold: int) -> Results:
    """Find the latest run of the demo's data with MAE and active selection, and the stage results it was made from.

    Raises:
        InputError: There is no such run of that fold, or a stage's result is no longer there.
    """
    found = [path.parent for path in output_dir.glob(f"runs/*/fold_{fold}/run.json")]
    runs = [(details, folder) for folder in found if _is_chosen(details := read_json(folder / "run.json"))]
    if not runs:
        raise _missing(output_dir, f"a run of {' '.join(f'{key}={value}' for key, value in _CHOICES.items())}", fold)
    details, run = max(runs, key=lambda found: str(found[0]["started"]))
    stages = output_dir / "stages"
    pretraining = stages / "pretraining" / details["pretraining"]
    if not pretraining.is_dir():
        raise _missing(output_dir, f"the pretraining {pretraining.name}", fold)
    selection = _selection(stages, read_json(pretraining / INPUTS_FILE), fold)
    if selection is None:
        raise _missing(output_dir, f"the selection that {pretraining.name} was pretrained on", fold)
    regions = stages / "regions" / read_json(selection / INPUTS_FILE)["regions"]
    slides = _slides(output_dir, read_json(regions / INPUTS_FILE)["slides"]) if regions.is_dir() else None
    if slides is None:
        raise _missing(output_dir, f"the slides or the regions of {selection.name}", fold)
    return Results(details, read_json(run / "metrics.json"), slides, regions, selection, pretraining)


def draw(results: Results) -> Figure:
    """The picture: slides, then the stages from left to right, 2000 pixels wide at 100 dpi."""
    figure = Figure(figsize=(_WIDTH / _DPI, _HEIGHT / _DPI), dpi=_DPI, facecolor=_GROUND)
    cards, left = [], _MARGIN
    for width, number, title, source in _CARDS:
        cards.append(_card(figure, left, width, number, title, source))
        left += width + _GAP
    regions = read_table(results.regions / "regions.csv", REGIONS)
    selection = read_table(results.selection / SELECTION_FILE, SELECTION)
    names = _telling_slides(regions, selection)
    slide = read_image(results.slides / names[0])
    region_filter = instantiate(read_json(results.regions / INPUTS_FILE)["filter"])
    steps = region_filter.steps(slide)
    window = _window(steps.found.regions, slide)
    _draw_slides(cards[0], results, names, window)
    _draw_regions(cards[1], results, slide, steps, f"{region_filter.merged_colours} colours", window)
    _draw_selection(cards[2], results, selection)
    _draw_pretraining(cards[3], results, selection)
    _draw_metrics(cards[4], results)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and write the picture; 2 is a user's mistake."""
    options = _parser().parse_args(arguments)
    try:
        with matplotlib.rc_context({"font.family": "DejaVu Sans", "axes.edgecolor": _FAINT, "text.parse_math": False}):
            figure = draw(read_results(options.output_dir, options.fold))
            with replacing(options.picture) as temporary:
                _write(figure, temporary)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"Picture: {options.picture}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Draw the pipeline from the files that `make demo` wrote.")
    outputs, picture = _REPOSITORY / "outputs", _REPOSITORY / "docs" / "pipeline.png"
    parser.add_argument(
        "--output-dir", type=Path, default=outputs, metavar="DIR", help="what train.py wrote (default: %(default)s)"
    )
    parser.add_argument("--fold", type=int, default=0, help="fold to show (default: %(default)s)")
    parser.add_argument(
        "--picture", type=Path, default=picture, metavar="FILE", help="PNG to write (default: %(default)s)"
    )
    return parser


def _write(figure: Figure, path: Path) -> None:
    """Write a PNG without the transparency that Matplotlib adds, which costs an eighth of the bytes."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=_DPI, format="png")
    Image.open(drawn).convert("RGB").save(path, optimize=True)


# Finding the results


def _is_chosen(details: Mapping[str, Any]) -> bool:
    return all(details["choices"].get(group) == option for group, option in _CHOICES.items())


def _missing(output_dir: Path, what: str, fold: int) -> InputError:
    return InputError(
        f"{output_dir} does not hold {what} for fold {fold}; run `make demo`, which writes everything that the picture "
        "shows, or point --output-dir at the folder it wrote."
    )


def _selection(stages: Path, pretraining: Mapping[str, Any], fold: int) -> Path | None:
    """The selection whose kept regions are the images of that pretraining."""
    for folder in sorted(stages.glob(f"selection/{_CHOICES['selection']}-*")):
        inputs = read_json(folder / INPUTS_FILE)
        images = fingerprint([inputs["regions"], selected_crops(folder)])
        if images == pretraining["images"] and inputs["fold"] in (fold, None):
            return folder
    return None


def _slides(output_dir: Path, key: str) -> Path | None:
    """The folder of demo data whose slides have that fingerprint."""
    for folder in sorted(output_dir.glob("data/demo-*")):
        names = [path.relative_to(folder).as_posix() for path in (folder / "slides").iterdir()]
        if files_fingerprint(folder, names) == key:
            return folder
    return None


# The parts of the picture


def _card(figure: Figure, left: float, width: float, number: str, title: str, source: str) -> Card:
    """An empty card with its title; one with a number gets an arrow from the card before it."""
    whole = figure.add_axes((0, 0, 1, 1), zorder=-1)
    whole.set(xlim=(0, _WIDTH), ylim=(_HEIGHT, 0))
    whole.axis("off")
    whole.add_patch(_rounded(left, _MARGIN, width, _HEIGHT - 2 * _MARGIN, 14, facecolor="white", edgecolor=_LINE))
    card = Card(figure, left, width)
    indent = 0.0
    if number:
        badge = 22 + 14 * len(number)
        indent = badge + 11
        whole.add_patch(_rounded(left + _PADDING, 34, badge, 36, 17.9, facecolor=_ACCENT, linewidth=0))
        card.text(badge / 2, 53, number, _SMALL + 1.5, "white", weight="bold", ha="center", va="center_baseline")
        whole.add_patch(_arrow(left - _GAP + 5, left - 5, (_BODY + _FOOTER) / 2))
    card.text(indent, 32, title, _TITLE, weight="bold")
    card.text(indent, 66, source, colour=_FAINT)
    return card


def _footer(card: Card, number: str, explanation: str) -> None:
    """What comes out of a stage."""
    rule = card.axes(0, _FOOTER + 6, card.inner, 1.5)
    rule.set(facecolor=_LINE, xticks=[], yticks=[])
    rule.spines[:].set_visible(False)
    card.text(0, _FOOTER + 16, number, _NUMBER, _ACCENT, weight="bold")
    card.text(0, _FOOTER + 60, explanation, colour=_FAINT)


def _draw_slides(card: Card, results: Results, names: Sequence[str], window: tuple[int, int]) -> None:
    """Three slides; the framed part of the first goes on to stage 1."""
    height = (_FOOTER - 16 - _BODY - 2 * 12) / 3
    for index, name in enumerate(names[:3]):
        slide = read_image(results.slides / name)
        width = min(card.inner, height * slide.shape[1] / slide.shape[0])
        axes = card.image(slide, (card.inner - width) / 2, _BODY + index * (height + 12), width, height)
        if index == 0:
            left, side = window
            axes.add_patch(_frame(left, 0, side, side, _ACCENT, 5)).set_clip_on(False)
    summary = read_json(results.regions / "summary.json")
    _footer(card, f"{summary['images']} slides", f"made up, {slide.shape[1]} x {slide.shape[0]}")


def _draw_regions(
    card: Card, results: Results, slide: Pixels, steps: Steps, colours: str, window: tuple[int, int]
) -> None:
    """Four steps of the filter on the framed part of the slide."""
    left, side = window
    pictures = (
        ("smoothed", steps.smoothed),
        (colours, steps.quantised),
        ("stain mask", 255 * steps.mask.astype(np.uint8)),
        ("boxes", slide),
    )
    size = (card.inner - 12) / 2
    for index, (title, pixels) in enumerate(pictures):
        x, y = index % 2 * (size + 12), _BODY + index // 2 * (size + 40)
        axes = card.image(pixels[:side, left : left + side], x, y, size, size)
        card.text(x + size / 2, y + size + 5, title, ha="center")
    for box in steps.found.regions:
        axes.add_patch(_frame(box.x - left, box.y, box.width, box.height, _KEPT, 4))
    axes.set(xlim=(0, side), ylim=(side, 0))
    summary = read_json(results.regions / "summary.json")
    _footer(card, f"{summary['regions']} regions", f"in {summary['images_with_region']} of {summary['images']} slides")


def _draw_selection(card: Card, results: Results, selection: pd.DataFrame) -> None:
    """Distances to the prototypes with their thresholds, and for two prototypes the crops in order of distance."""
    prototypes = read_table(results.selection / PROTOTYPES_FILE, PROTOTYPES)
    _draw_distances(card.axes(34, _BODY + 4, card.inner - 34, 202), selection, prototypes)
    card.text(4, _BODY + 106, "prototype size \N{RIGHTWARDS ARROW}", rotation=90, va="center", ha="left")
    card.text(34 + (card.inner - 34) / 2, _BODY + 210, "distance; bar: threshold of Eq. 8", ha="center")
    top = _BODY + 252
    for prototype in _telling_prototypes(prototypes):
        members = selection[selection["prototype"] == prototype["prototype"]].sort_values("distance")
        _draw_crops(card, results, members, top)
        commonest = max(results.details["classes"], key=lambda name: int(prototype[name]))
        text = f"{int(prototype['selected'])} of {int(prototype['candidates'])} kept near a {commonest} prototype"
        card.text(0, top + 70, text)
        top += 124
    kept = int(selection["selected"].sum())
    _footer(card, f"{kept} selected", f"of {len(selection)} in slides without test cells")


def _draw_distances(axes: Axes, selection: pd.DataFrame, prototypes: pd.DataFrame) -> None:
    """A row of candidates a prototype, the largest on top; its threshold as a bar."""
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(selection))
    ordered = prototypes.sort_values("size", ascending=False)
    rank = {prototype: row for row, prototype in enumerate(ordered["prototype"])}
    height = selection["prototype"].map(rank).to_numpy(float) + jitter
    colours = np.where(selection["selected"] == 1, _KEPT, _DROPPED)
    axes.scatter(selection["distance"], height, s=9, c=colours, linewidth=0)
    rows = np.arange(len(ordered))
    axes.vlines(ordered["threshold"], rows - 0.45, rows + 0.45, color=_INK, linewidth=_points(3))
    axes.set(ylim=(len(ordered) - 0.4, -0.6), yticks=[])
    axes.tick_params(labelsize=0, length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_crops(card: Card, results: Results, members: pd.DataFrame, top: float) -> None:
    """Six candidates evenly spaced in the order of distance: kept ones framed, dropped ones greyed."""
    size = (card.inner - 5 * 6) / 6
    chosen = members.iloc[np.linspace(0, len(members) - 1, 6).round().astype(int)]
    for index, (name, selected) in enumerate(zip(chosen["crop"], chosen["selected"], strict=True)):
        pixels = resize(read_image(results.regions / name), 96)
        axes = card.image(pixels if selected else _greyed(pixels), index * (size + 6), top, size, size)
        if selected:
            axes.spines[:].set(color=_KEPT, linewidth=_points(4))


def _draw_pretraining(card: Card, results: Results, selection: pd.DataFrame) -> None:
    """Three selected regions at the size of pretraining, what MAE's encoder may see of them, and the loss."""
    inputs = read_json(results.pretraining / INPUTS_FILE)
    side, patch_size = inputs["training"]["view"]["size"], inputs["backbone"]["patch_size"]
    ratio, rng = inputs["method"]["method"]["mask_ratio"], np.random.default_rng(0)
    kept = selection.loc[selection["selected"] == 1, "crop"].to_list()
    size = (card.inner - 2 * 8) / 3
    for index in range(3):
        pixels = resize(read_image(results.regions / kept[index * len(kept) // 3]), side)
        x = index * (size + 8)
        card.image(pixels, x, _BODY, size, size)
        card.image(_masked(pixels, patch_size, ratio, rng), x, _BODY + size + 8, size, size)
    card.text(card.inner / 2, _BODY + 2 * size + 14, f"{ratio:.0%} of patches hidden", ha="center")
    history = read_table(results.pretraining / "history" / "metrics.csv", ["step", "pretrain/loss"])
    history = history.assign(loss=pd.to_numeric(history["pretrain/loss"], errors="coerce")).dropna(subset="loss")
    top = _BODY + 2 * size + 62
    axes = card.axes(0, top, card.inner, _FOOTER - 34 - top)
    axes.plot(history["step"] + 1, history["loss"], color=_ACCENT, linewidth=_points(4))
    axes.set(xlim=(0, history["step"].max() + 1), ylim=(0, None), xticks=[], yticks=[])
    axes.spines[["top", "right"]].set_visible(False)
    axes.text(
        0.98, 0.86, "loss on hidden patches", transform=axes.transAxes, ha="right", va="top", fontsize=_points(_SMALL)
    )
    steps = results.details["pretraining_steps"]
    card.text(card.inner / 2, _FOOTER - 30, f"{steps} steps", ha="center")
    first, last = history["loss"].iloc[0], history["loss"].iloc[-1]
    _footer(
        card, f"loss {first:.2f} \N{RIGHTWARDS ARROW} {last:.2f}", f"on {results.details['pretraining_images']} regions"
    )


def _draw_metrics(card: Card, results: Results) -> None:
    """PR-AUC of every class with a test cell, most frequent on top."""
    metrics = results.metrics
    classes = [name for name in results.details["classes"] if isinstance(metrics.get(f"pr_auc/{name}"), float)]
    classes.sort(key=lambda name: -metrics[f"support/{name}"])
    colours = [_RARE if name in results.details["rare"] else _ACCENT for name in classes]
    scores = [100 * metrics[f"pr_auc/{name}"] for name in classes]
    axes = card.axes(84, _BODY, card.inner - 84 - 50, _FOOTER - _BODY - 36)
    bars = axes.barh(range(len(classes)), scores, color=colours, height=0.62)
    axes.bar_label(bars, [f"{score:.0f}" for score in scores], padding=4, fontsize=_points(_SMALL), color=_INK)
    axes.set_yticks(range(len(classes)), classes, fontsize=_points(_SMALL))
    for label, colour in zip(axes.get_yticklabels(), colours, strict=True):
        label.set_color(_RARE if colour == _RARE else _INK)
    axes.set(xlim=(0, 100), ylim=(len(classes) - 0.5, -0.5), xticks=[])
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    card.text(card.inner / 2, _FOOTER - 30, "PR-AUC, %; rare classes orange", ha="center")
    explanation = f"fold {results.details['fold']}: {metrics['cells']} test cells"
    _footer(card, f"PR-AUC {metrics['pr_auc']:.1%}", explanation)


# What they are made of


def _window(regions: Sequence[Region], slide: Pixels) -> tuple[int, int]:
    """Left edge and side of the square as high as the slide that holds most regions whole."""
    height, width = slide.shape[:2]
    whole = [
        sum(left <= region.x and region.x + region.width <= left + height for region in regions)
        for left in range(max(width - height, 0) + 1)
    ]
    return int(np.argmax(whole)), min(height, width)


def _telling_slides(regions: pd.DataFrame, selection: pd.DataFrame) -> list[str]:
    """Slides that have both kept and dropped regions come first."""
    decided = regions.merge(selection, on="crop")
    kept = decided.groupby("image")["selected"].agg(["sum", "count"])
    balance = np.minimum(kept["sum"], kept["count"] - kept["sum"])
    return list(balance.sort_values(ascending=False, kind="stable").index)


def _telling_prototypes(prototypes: pd.DataFrame) -> list[Any]:
    """The largest and the smallest of the prototypes with at least six candidates of which some are dropped."""
    dropped = prototypes["candidates"] - prototypes["selected"]
    mixed = prototypes[(prototypes["candidates"] >= 6) & (prototypes["selected"] >= 1) & (dropped >= 1)]
    ordered = mixed.sort_values("size", ascending=False)
    return [ordered.iloc[row] for row in (0, -1)[: len(ordered)]]


def _masked(pixels: Pixels, patch_size: int, mask_ratio: float, rng: np.random.Generator) -> Pixels:
    """An image with patches hidden at random, as many as `methods.mae.MAE` hides."""
    rows, columns = (side // patch_size for side in pixels.shape[:2])
    num_kept = int(rows * columns * (1 - mask_ratio))
    hidden = rng.permutation(rows * columns).reshape(rows, columns) >= num_kept
    masked = pixels.copy()
    masked[hidden.repeat(patch_size, axis=0).repeat(patch_size, axis=1)] = _HIDDEN
    return masked


def _greyed(pixels: Pixels) -> Pixels:
    grey = pixels.mean(axis=2, keepdims=True).repeat(3, axis=2)
    greyed: Pixels = (0.5 * grey + 0.5 * 255).astype(np.uint8)
    return greyed


def _rounded(x: float, y: float, width: float, height: float, radius: float, **style: Any) -> FancyBboxPatch:
    return FancyBboxPatch((x, y), width, height, boxstyle=f"round,pad=0,rounding_size={radius}", **style)


def _arrow(start: float, tip: float, y: float) -> Polygon:
    """A block arrow to the right."""
    neck, half, head = tip - 15, 5, 15
    upper = [(start, -half), (neck, -half), (neck, -head)]
    outline = [*upper, (tip, 0), *((x, -above) for x, above in reversed(upper))]
    return Polygon([(x, y + above) for x, above in outline], color=_ACCENT, linewidth=0)


def _frame(x: float, y: float, width: float, height: float, colour: str, thickness: float) -> Rectangle:
    return Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=_points(thickness))


def _points(pixels: float) -> float:
    """Pixels of the picture in Matplotlib's points."""
    return 72 * pixels / _DPI


if __name__ == "__main__":
    sys.exit(main())
