"""A picture of the pipeline on fields of the data, step by step, from what a run has written (Fig. 2 of the paper)."""

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
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image

from activessf.artifacts import INPUTS_FILE, fingerprint
from activessf.data.augmentations import resize
from activessf.data.images import read_image
from activessf.data.slide_files import open_slide
from activessf.errors import InputError
from activessf.evaluation.figures.style import shortened
from activessf.evaluation.metrics import read_predictions
from activessf.exits import telling_mistakes
from activessf.manifests import BOX, PROTOTYPES, REGIONS, SELECTION, read_json, read_table, replacing
from activessf.regions.filtering import RegionFilter, Steps
from activessf.selection.stage import PROTOTYPES_FILE, SELECTION_FILE, selected_crops
from activessf.training.watching.reconstructions import COLUMNS

Pixels = NDArray[np.uint8]

_REPOSITORY = Path(__file__).resolve().parents[1]
_SELECTION = "activessf"  # the one whose thresholds the picture shows

# All lengths of the drawing are pixels of the picture, counted from the top left.
_DPI = 100
_WIDTH, _HEIGHT = 2060, 728
_MARGIN, _GAP, _PADDING = 14, 40, 20
_BODY, _FOOTER = 108, 608  # top edges
_SMALL, _TITLE, _NUMBER = 19.5, 25, 31  # sizes of type
_INK, _FAINT, _LINE, _GROUND = "#22223B", "#5F6177", "#D9DAE5", "#F4F4FA"
_ACCENT, _KEPT, _DROPPED, _RARE = "#5B3FA0", "#009E73", "#B4B6C3", "#D55E00"
_LONGEST_NAME = 12  # letters of a class

# Width, stages, title and where in the paper; with the gaps and margins they fill the picture's width.
_CARDS = (
    (250, "", "Stained slides", "paper III.A"),
    (466, "1", "Cell region filtering", "paper II.B, Eq. 1-3"),
    (428, "2", "Active sample selection", "paper II.C, Eq. 4-9"),
    (334, "3", "Pretraining", "paper III.B"),
    (394, "4, 5", "Fine-tune, test", "paper III.B, III.C"),
)


@dataclass(frozen=True)
class Results:
    """What the stages of one run have written.

    Attributes:
        details: run.json.
        run: Folder of the run's fold.
        slides: Folder that the `image` of regions and predictions is relative to.
        regions: Folder of stage 1.
        selection: Folder of stage 2.
        pretraining: Folder of stage 3.
    """

    details: Mapping[str, Any]
    run: Path
    slides: Path
    regions: Path
    selection: Path
    pretraining: Path


@dataclass(frozen=True)
class Field:
    """A slide from whose regions some were kept and some dropped, as it goes through stages 1 and 2.

    Attributes:
        pixels: RGB, (H, W, 3).
        steps: What the filter makes of it.
        colours: Of the filter: clusters of K-means, and those left after merging.
        regions: Its candidates: columns of regions.csv and selection.csv.
        left: Left edge of the square that is shown.
        side: Side of the square.
    """

    pixels: Pixels
    steps: Steps
    colours: tuple[int, int]
    regions: pd.DataFrame
    left: int
    side: int

    def shown(self, pixels: Pixels) -> Pixels:
        """The square's part of an image of the field's size."""
        return pixels[: self.side, self.left : self.left + self.side]


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


@telling_mistakes
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and write the picture; 2 is a user's mistake."""
    options = _parser().parse_args(arguments)
    settings = {"font.family": "DejaVu Sans", "axes.edgecolor": _FAINT, "text.parse_math": False, "pdf.fonttype": 42}
    results = read_results(options.output_dir, options.data, options.method, options.fold, options.data_root)
    with matplotlib.rc_context(settings):
        figure = draw(results, options.field)
        for path in (options.picture, options.picture.with_suffix(".pdf")):
            with replacing(path) as temporary:
                _write(figure, temporary)
            print(f"Picture: {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Draw the pipeline on fields of the data, from the newest run that fits, as PNG and PDF."
    )
    outputs, picture = _REPOSITORY / "outputs", _REPOSITORY / "docs" / "pipeline.png"
    parser.add_argument(
        "--output-dir", type=Path, default=outputs, metavar="DIR", help="what train.py wrote (default: %(default)s)"
    )
    parser.add_argument("--data", default="demo", metavar="NAME", help="as in data=NAME (default: %(default)s)")
    parser.add_argument("--method", default="mae", metavar="NAME", help="as in ssl=NAME (default: %(default)s)")
    parser.add_argument("--fold", type=int, default=0, help="fold to show (default: %(default)s)")
    parser.add_argument(
        "--data-root", type=Path, metavar="DIR", help="where the slides are now, if no longer where the run found them"
    )
    parser.add_argument(
        "--field", metavar="IMAGE", help="slide to show, a path as in regions.csv (default: one with regions that were "
        "kept and others that were not)"
    )  # fmt: skip
    parser.add_argument(
        "--picture", type=Path, default=picture, metavar="FILE", help="PNG to write, and a PDF beside it (%(default)s)"
    )
    return parser


def _write(figure: Figure, path: Path) -> None:
    """Write a PDF, or a PNG without the transparency that Matplotlib adds, which costs an eighth of the bytes."""
    drawn = BytesIO()
    if path.suffix == ".pdf":
        figure.savefig(path, dpi=2 * _DPI, format="pdf", metadata={"CreationDate": None})
        return
    figure.savefig(drawn, dpi=_DPI, format="png")
    Image.open(drawn).convert("RGB").save(path, format="PNG", optimize=True)


# Finding the results


def read_results(output_dir: Path, data: str, method: str, fold: int, data_root: Path | None = None) -> Results:
    """Find the latest run with active selection, and the stage results it was made from.

    Args:
        output_dir: What train.py wrote.
        data: Option of the group data.
        method: Option of the group ssl_method.
        fold: Fold number.
        data_root: Folder of the slides; None: where the run found them.

    Raises:
        InputError: There is no such run of that fold, or a stage's result is no longer there.
    """
    choices = {"data": data, "ssl_method": method, "selection": _SELECTION}
    found = [path.parent for path in output_dir.glob(f"runs/*/fold_{fold}/run.json")]
    runs = [(read_json(folder / "run.json"), folder) for folder in found]
    runs = [run for run in runs if choices.items() <= run[0]["choices"].items()]
    if not runs:
        wanted = f"data={data} ssl={method} selection={_SELECTION}"
        raise _missing(output_dir, f"a run of {wanted}", fold)
    details, run = max(runs, key=lambda found: str(found[0]["started"]))
    stages = output_dir / "stages"
    pretraining = stages / "pretraining" / details["pretraining"]
    if not pretraining.is_dir():
        raise _missing(output_dir, f"the pretraining {pretraining.name}", fold)
    selection = _selection(stages, read_json(pretraining / INPUTS_FILE), fold)
    if selection is None:
        raise _missing(output_dir, f"the selection that {pretraining.name} was pretrained on", fold)
    regions = stages / "regions" / read_json(selection / INPUTS_FILE)["regions"]
    if not regions.is_dir():
        raise _missing(output_dir, f"the regions of {selection.name}", fold)
    slides = _slides([data_root] if data_root else _roots(run, output_dir), regions)
    return Results(details, run, slides, regions, selection, pretraining)


def _missing(output_dir: Path, what: str, fold: int) -> InputError:
    return InputError(
        f"{output_dir} does not hold {what} for fold {fold}; run `make demo`, or train.py with these options, which "
        "writes everything that the picture shows, or point --output-dir at the folder it wrote."
    )


def _selection(stages: Path, pretraining: Mapping[str, Any], fold: int) -> Path | None:
    """The selection whose kept regions are the images of that pretraining."""
    for folder in sorted(stages.glob(f"selection/{_SELECTION}-*")):
        inputs = read_json(folder / INPUTS_FILE)
        images = fingerprint([inputs["regions"], selected_crops(folder)])
        if images == pretraining["images"] and inputs["fold"] in (fold, None):
            return folder
    return None


def _roots(run: Path, output_dir: Path) -> list[Path]:
    """Where the slides may be: as configured, or the demo's folders."""
    config = run / "config.yaml"
    root = OmegaConf.load(config).data.get("root") if config.is_file() else None
    return [Path(root)] if root else sorted(output_dir.glob("data/*"))


def _slides(roots: Sequence[Path], regions: Path) -> Path:
    """The folder whose slides the regions were cut from: where the first region's pixels are those of its crop."""
    first = read_table(regions / "regions.csv", REGIONS).iloc[0]
    pixels = read_image(regions / first["crop"])
    for root in roots:
        if (root / first["image"]).is_file():
            slide = read_image(root / first["image"])
            x, y, width, height = (int(first[side]) for side in BOX)
            if np.array_equal(slide[y : y + height, x : x + width], pixels):
                return root
    raise InputError(
        f"The slides that {regions.name} was found in are not below {', '.join(map(str, roots)) or 'data'}; name their "
        "folder with --data-root."
    )


# The parts of the picture


def draw(results: Results, name: str | None = None) -> Figure:
    """The picture: slides, then the stages from left to right, 2060 pixels wide at 100 dpi.

    Args:
        results: What it is drawn from.
        name: The slide to show; None: one that tells much.

    Raises:
        InputError: That slide has no candidate region in this fold, or a file can't be read.
    """
    figure = Figure(figsize=(_WIDTH / _DPI, _HEIGHT / _DPI), dpi=_DPI, facecolor=_GROUND)
    cards, left = [], _MARGIN
    for width, number, title, source in _CARDS:
        cards.append(_card(figure, left, width, number, title, source))
        left += width + _GAP
    selection = read_table(results.selection / SELECTION_FILE, SELECTION)
    candidates = read_table(results.regions / "regions.csv", REGIONS).merge(selection, on="crop")
    names = telling_slides(candidates)
    if name is not None:
        if name not in names:
            raise InputError(f"{name!r} is no slide with a candidate region in this fold; {names[0]!r} is one.")
        names = [name, *(other for other in names if other != name)]
    field = _field(results, names[0], candidates[candidates["image"] == names[0]])
    _draw_slides(cards[0], results, field, names)
    _draw_regions(cards[1], results, field)
    _draw_selection(cards[2], results, selection, field)
    _draw_pretraining(cards[3], results, selection)
    _draw_test(cards[4], results)
    return figure


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


def _draw_slides(card: Card, results: Results, field: Field, names: Sequence[str]) -> None:
    """Three slides; the framed part of the first goes through the stages."""
    height = (_FOOTER - 16 - _BODY - 2 * 12) / 3
    for index, name in enumerate(names[:3]):
        slide = field.pixels if index == 0 else read_image(results.slides / name)
        width = min(card.inner, height * slide.shape[1] / slide.shape[0])
        axes = card.image(slide, (card.inner - width) / 2, _BODY + index * (height + 12), width, height)
        if index == 0:
            axes.add_patch(_frame(field.left, 0, field.side, field.side, _ACCENT, 5)).set_clip_on(False)
    summary = read_json(results.regions / "summary.json")
    origin = "made up, " if results.details["choices"]["data"] == "demo" else ""
    _footer(card, f"{summary['images']} slides", f"{origin}{field.pixels.shape[1]} x {field.pixels.shape[0]}")


def _draw_regions(card: Card, results: Results, field: Field) -> None:
    """Four steps of the filter on the framed part of the field."""
    pictures = (
        ("normalised, smoothed", field.steps.smoothed),
        (f"{field.colours[0]} \N{RIGHTWARDS ARROW} {field.colours[1]} colours", field.steps.quantised),
        ("stain mask", 255 * field.steps.mask.astype(np.uint8)),
        ("boxes; dashed: rejected", field.pixels),
    )
    size = (card.inner - 12) / 2
    for index, (title, pixels) in enumerate(pictures):
        x, y = index % 2 * (size + 12), _BODY + index // 2 * (size + 40)
        axes = card.image(field.shown(pixels), x, y, size, size)
        card.text(x + size / 2, y + size + 5, title, size=18, ha="center")
    for item in field.steps.found.rejected:
        box = item.region
        axes.add_patch(_frame(box.x - field.left, box.y, box.width, box.height, _RARE, 2, linestyle="--"))
    for box in field.steps.found.regions:
        axes.add_patch(_frame(box.x - field.left, box.y, box.width, box.height, _ACCENT, 4))
    axes.set(xlim=(0, field.side), ylim=(field.side, 0))
    summary = read_json(results.regions / "summary.json")
    _footer(card, f"{summary['regions']} regions", f"in {summary['images_with_region']} of {summary['images']} slides")


def _draw_selection(card: Card, results: Results, selection: pd.DataFrame, field: Field) -> None:
    """Distances to the prototypes with their thresholds, the field's regions with theirs, and a prototype's crops."""
    prototypes = read_table(results.selection / PROTOTYPES_FILE, PROTOTYPES)
    _draw_distances(card.axes(34, _BODY + 2, card.inner - 34, 150), selection, prototypes)
    card.text(4, _BODY + 78, "size \N{RIGHTWARDS ARROW}", rotation=90, va="center", ha="left")
    card.text(34 + (card.inner - 34) / 2, _BODY + 155, "distance; bar: threshold of Eq. 8", 18, ha="center")
    _draw_decisions(card, field, _BODY + 192, 182)
    prototype = telling_prototype(prototypes)
    if prototype is not None:
        members = selection[selection["prototype"] == prototype["prototype"]].sort_values("distance")
        _draw_crops(card, results, members, _BODY + 388)
        commonest = shortened(max(results.details["classes"], key=lambda name: int(prototype[name])), _LONGEST_NAME)
        text = f"{int(prototype['selected'])} of {int(prototype['candidates'])} kept near a {commonest} prototype"
        card.text(0, _BODY + 456, text, 18)
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


def _draw_decisions(card: Card, field: Field, top: float, size: float) -> None:
    """The field's regions numbered, and beside it the distance and threshold of each."""
    axes = card.image(field.shown(field.pixels), 0, top, size, size)
    inside = field.regions["x"] + field.regions["width"] / 2
    shown = field.regions[(inside >= field.left) & (inside < field.left + field.side)].sort_values(["y", "x"])
    for number, row in enumerate(shown.itertuples(), start=1):
        colour, line = (_KEPT, "-") if row.selected else (_INK, "--")
        axes.add_patch(_frame(row.x - field.left, row.y, row.width, row.height, colour, 3, linestyle=line))
        if number > 7:
            continue  # no room beside the field
        place = max(0, row.x - field.left) + 0.02 * field.side, max(0, row.y) + 0.02 * field.side
        badge = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.85}
        axes.text(*place, str(number), va="top", fontsize=_points(16), color=colour, bbox=badge)
        sign = "\N{LESS-THAN OR EQUAL TO}" if row.selected else ">"
        text = f"{number}  {row.distance:.3g} {sign} {row.threshold:.3g} {'kept' if row.selected else 'dropped'}"
        card.text(size + 12, top + 26 * (number - 1), text, 17, colour)
    axes.set(xlim=(0, field.side), ylim=(field.side, 0))


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
    """What the method sees and makes of three images at the end, or three kept regions where it predicts no pixels."""
    grids = sorted(results.pretraining.glob("reconstructions/step_*.png"))
    kept = selection.loc[selection["selected"] == 1, "crop"].to_list()
    size = (card.inner - 2 * 8) / 3
    if grids:
        rows = reconstructed(read_image(grids[-1]))
        rows = [rows[index * len(rows) // 3] for index in range(min(3, len(rows)))]
        for column, title in enumerate(COLUMNS):
            card.text(column * (size + 8) + size / 2, _BODY, title, 16, ha="center")
    else:
        rows = [[resize(read_image(results.regions / kept[index * len(kept) // 3]), 96) for index in range(3)]]
    for row, pictures in enumerate(rows):
        for column, pixels in enumerate(pictures):
            card.image(pixels, column * (size + 8), _BODY + 26 + row * (size + 6), size, size)
    top = _BODY + 26 + 3 * (size + 6) + 14
    _draw_loss(card, results, top)
    steps, method = results.details["pretraining_steps"], results.details["choices"]["ssl_method"]
    card.text(card.inner / 2, _FOOTER - 30, f"{steps} steps of {method}", 18, ha="center")


def _draw_loss(card: Card, results: Results, top: float) -> None:
    history = read_table(results.pretraining / "history" / "metrics.csv", ["step", "pretrain/loss"])
    history = history.assign(loss=pd.to_numeric(history["pretrain/loss"], errors="coerce")).dropna(subset="loss")
    axes = card.axes(0, top, card.inner, _FOOTER - 34 - top)
    axes.plot(history["step"] + 1, history["loss"], color=_ACCENT, linewidth=_points(4))
    axes.set(xlim=(0, history["step"].max() + 1), ylim=(0, None), xticks=[], yticks=[])
    axes.spines[["top", "right"]].set_visible(False)
    axes.text(0.98, 0.94, "loss", transform=axes.transAxes, ha="right", va="top", fontsize=_points(_SMALL))
    first, last = history["loss"].iloc[0], history["loss"].iloc[-1]
    number = f"loss {first:.2f} \N{RIGHTWARDS ARROW} {last:.2f}"
    _footer(card, number, f"on {results.details['pretraining_images']} regions")


def _draw_test(card: Card, results: Results) -> None:
    """A slide of the test fold with the predicted class of its cells, and PR-AUC of every class with a test cell."""
    predictions = read_predictions(results.run / "predictions.csv")
    name = predictions.groupby("image")["label"].agg(["nunique", "size"]).sort_values(["nunique", "size"]).index[-1]
    slide = read_image(results.slides / str(name))
    height = min(220, card.inner * slide.shape[0] / slide.shape[1])
    width = height * slide.shape[1] / slide.shape[0]
    axes = card.image(slide, (card.inner - width) / 2, _BODY, width, height)
    for row in predictions[predictions["image"] == name].itertuples():
        right = row.label == row.predicted
        colour = _KEPT if right else _RARE
        axes.add_patch(_frame(row.x, row.y, row.width, row.height, colour, 3, linestyle="-" if right else "--"))
        text = shortened(row.predicted, 14)
        badge = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8}
        x, y = row.x + row.width / 2, row.y + row.height / 2
        axes.text(x, y, text, ha="center", va="center", fontsize=_points(14), color=colour, bbox=badge)
    axes.set(xlim=(0, slide.shape[1]), ylim=(slide.shape[0], 0))
    card.text(card.inner / 2, _BODY + height + 4, "predicted classes of a test slide; dashed: wrong", 15, ha="center")
    metrics = read_json(results.run / "metrics.json")
    _draw_scores(card, metrics, results.details, _BODY + height + 34)
    _footer(card, f"PR-AUC {metrics['pr_auc']:.1%}", f"fold {results.details['fold']}: {metrics['cells']} test cells")


def _draw_scores(card: Card, metrics: Mapping[str, Any], details: Mapping[str, Any], top: float) -> None:
    """PR-AUC of every class with a test cell, most frequent on top."""
    classes = [name for name in details["classes"] if isinstance(metrics.get(f"pr_auc/{name}"), float)]
    classes.sort(key=lambda name: -metrics[f"support/{name}"])
    colours = [_RARE if name in details["rare"] else _ACCENT for name in classes]
    scores = [100 * metrics[f"pr_auc/{name}"] for name in classes]
    height = _FOOTER - 34 - top
    size = min(_SMALL, 0.85 * height / len(classes))
    left = 5 + 0.66 * size * max(len(shortened(name, 14)) for name in classes)
    axes = card.axes(left, top, card.inner - left - 36, height)
    bars = axes.barh(range(len(classes)), scores, color=colours, height=0.62)
    axes.bar_label(bars, [f"{score:.0f}" for score in scores], padding=4, fontsize=_points(size), color=_INK)
    axes.set_yticks(range(len(classes)), [shortened(name, 14) for name in classes], fontsize=_points(size))
    for label, colour in zip(axes.get_yticklabels(), colours, strict=True):
        label.set_color(_RARE if colour == _RARE else _INK)
    axes.set(xlim=(0, 100), ylim=(len(classes) - 0.5, -0.5), xticks=[])
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    card.text(card.inner / 2, _FOOTER - 28, "PR-AUC, %; rare classes orange", 16, ha="center")


# What they are made of


def _field(results: Results, name: str, regions: pd.DataFrame) -> Field:
    inputs = read_json(results.regions / INPUTS_FILE)
    settings = inputs["overrides"].get(name, inputs["filter"])
    region_filter = RegionFilter(**{key: value for key, value in settings.items() if not key.startswith("_")})
    with open_slide(results.slides / name) as slide:
        if not slide.in_memory:
            raise InputError(f"{name} is a whole slide; name a smaller one with --field.")
        pixels = slide.read(0, 0, slide.width, slide.height)
        steps = region_filter.at(slide.resolution).steps(pixels)
    left, side = window([(row.x, row.width) for row in regions.itertuples()], pixels)
    colours = region_filter.num_colours, region_filter.merged_colours
    return Field(pixels, steps, colours, regions, left, side)


def window(boxes: Sequence[tuple[int, int]], slide: Pixels) -> tuple[int, int]:
    """Left edge and side of the square as high as the slide that holds most boxes (left edge, width) whole."""
    height, width = slide.shape[:2]
    whole = [
        sum(left <= x and x + across <= left + height for x, across in boxes)
        for left in range(max(width - height, 0) + 1)
    ]
    return int(np.argmax(whole)), min(height, width)


def telling_slides(candidates: pd.DataFrame) -> list[str]:
    """Slides that have both kept and dropped regions come first, those with most regions before others."""
    kept = candidates.groupby("image")["selected"].agg(["sum", "count"])
    balance = np.minimum(kept["sum"], kept["count"] - kept["sum"])
    order = kept.assign(balance=balance).sort_values(["balance", "count"], ascending=False, kind="stable")
    return list(order.index)


def telling_prototype(prototypes: pd.DataFrame) -> Any:
    """The smallest of the prototypes with at least six candidates of which some are dropped; None: there is none."""
    dropped = prototypes["candidates"] - prototypes["selected"]
    mixed = prototypes[(prototypes["candidates"] >= 6) & (prototypes["selected"] >= 1) & (dropped >= 1)]
    return None if mixed.empty else mixed.sort_values("size", kind="stable").iloc[0]


def reconstructed(sheet: Pixels) -> list[list[Pixels]]:
    """Input, masked and reconstructed of each row of a grid that `watching.reconstructions.grid` has drawn."""
    side = (sheet.shape[1] - 8) // len(COLUMNS) - 8
    tops = range(42, sheet.shape[0] - side, side + 26)
    lefts = range(8, sheet.shape[1] - side, side + 8)
    return [[sheet[top : top + side, left : left + side] for left in lefts] for top in tops]


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


def _frame(x: float, y: float, width: float, height: float, colour: str, thickness: float, **style: Any) -> Rectangle:
    return Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=_points(thickness), **style)


def _points(pixels: float) -> float:
    """Pixels of the picture in Matplotlib's points."""
    return 72 * pixels / _DPI


if __name__ == "__main__":
    sys.exit(main())
