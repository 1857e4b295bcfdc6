"""Made-up stained bone-marrow slides, so that every command runs on a fresh machine.

The slides only look like the real thing: they exercise every stage (red cells and background to leave out, false
candidates, a long-tailed class distribution, stains that differ from patient to patient), and they say nothing about
how well a method does on patients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from activessf.data.demo_cells import (
    DYES,
    OTHER_CELLS,
    SUBTYPES,
    DrawnCell,
    FloatArray,
    Morphology,
    draw_cell,
    draw_platelet,
    draw_red_cell,
    smooth_noise,
)
from activessf.errors import InputError
from activessf.manifests import BOX, write_table

DEMO_CLASSES: tuple[str, ...] = tuple(SUBTYPES)
OTHER = "other"

_GAP = 7  # pixels that stay free round a purple cell
_TRIES = 400  # attempts to find a place for a cell before it is left out
_SMALLEST_SLIDE = 210  # pixels; more than the patch on which the largest cell is drawn (203)
_JPEG_QUALITY = 92
# What a random stream is for; each slide and each patient has its own, so none depends on how many there are.
_SUBTYPES, _OTHERS, _STAIN, _SLIDE = range(4)


@dataclass(frozen=True)
class Stain:
    """How one patient's slides were stained and lit.

    Attributes:
        absorbance: Absorbance in red, green and blue of one unit of each dye, (3 dyes, 3 channels).
        light: RGB of the bare glass, (3,), 0-255.
    """

    absorbance: FloatArray
    light: FloatArray


@dataclass(frozen=True)
class PlacedCell:
    """A drawn cell and its tight box in the slide: label, and x, y, width, height in pixels."""

    label: str
    x: int
    y: int
    width: int
    height: int


def draw_stain(rng: np.random.Generator) -> Stain:
    """Draw a patient's stain: amount and hue of each dye and the colour of the lamp."""
    absorbance = np.array(list(DYES.values()), dtype=np.float32)
    absorbance *= np.exp(rng.normal(0, 0.07, (3, 1))) * np.exp(rng.normal(0, 0.035, (3, 3)))
    light = np.array([243, 236, 239]) * rng.uniform(0.94, 1.0) + rng.normal(0, 2.5, 3)
    return Stain(absorbance.astype(np.float32), np.clip(light, 200, 252).astype(np.float32))


def stratified_labels(rng: np.random.Generator, kinds: Mapping[str, Morphology]) -> Iterator[str]:
    """Endless labels in which every beginning is close to the kinds' frequencies and that starts with one of each.

    Each next label is the one that lags most behind its frequency, after some random jitter.
    """
    names = list(kinds)
    shares = np.array([kinds[name].frequency for name in names])
    counts = np.zeros(len(names))
    for index in rng.permutation(len(names)):
        counts[index] += 1
        yield names[index]
    while True:
        lag = (counts.sum() + 1) * shares - counts + rng.uniform(0, 0.5, len(names))
        index = int(lag.argmax())
        counts[index] += 1
        yield names[index]


def deal(rng: np.random.Generator, labels: Iterator[str], per_slide: float, num_slides: int) -> list[list[str]]:
    """Deal labels to slides, `per_slide` each on average, give or take two."""
    slack = min(1.0, 0.49 * per_slide)
    hands, dealt = [], 0
    for index in range(1, num_slides + 1):
        until = max(dealt, round(index * per_slide + rng.uniform(-slack, slack)))
        hands.append(list(islice(labels, until - dealt)))
        dealt = until
    return hands


def _place(rng: np.random.Generator, cell: DrawnCell, occupied: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Top left corner (x, y) at which the cell lies in the slide on free ground, or None when none was found."""
    height, width = cell.cover.shape
    solid = cell.cover > 0
    rows, columns = occupied.shape
    for _ in range(_TRIES):
        x, y = int(rng.integers(1, columns - width)), int(rng.integers(1, rows - height))
        if not (occupied[y : y + height, x : x + width] & solid).any():
            return x, y
    return None


def _tight_box(cover: FloatArray) -> tuple[int, int, int, int]:
    """Box x, y, width, height of the pixels with cover >= 0.5."""
    rows, columns = np.flatnonzero((cover >= 0.5).any(axis=1)), np.flatnonzero((cover >= 0.5).any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)


def _draw_purple_cells(
    rng: np.random.Generator, dyes: FloatArray, cells: Sequence[tuple[str, DrawnCell]]
) -> tuple[list[PlacedCell], NDArray[np.bool_]]:
    """Put cells where they keep a gap to each other, large ones first; returns the boxes and the covered pixels."""
    covered = np.zeros(dyes.shape[:2], dtype=np.bool_)
    occupied = covered.copy()
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _GAP + 1, 2 * _GAP + 1))
    placed = []
    for label, cell in sorted(cells, key=lambda item: -item[1].cover.size):
        corner = _place(rng, cell, occupied)
        if corner is None:
            continue
        x, y = corner
        height, width = cell.cover.shape
        window = np.s_[y : y + height, x : x + width]
        dyes[window] = dyes[window] * (1 - cell.cover[..., None]) + cell.dyes
        covered[window] |= cell.cover > 0
        occupied = cv2.dilate(covered.astype(np.uint8), kernel).astype(np.bool_)
        left, top, box_width, box_height = _tight_box(cell.cover)
        placed.append(PlacedCell(label, x + left, y + top, box_width, box_height))
    return placed, covered


def _add(dyes: FloatArray, patch: FloatArray, x: int, y: int) -> None:
    """Add a patch centred on (x, y), cut off at the slide's border."""
    rows, columns = dyes.shape[:2]
    half = patch.shape[0] // 2
    top, left = max(0, half - y), max(0, half - x)
    bottom, right = min(2 * half + 1, rows - y + half), min(2 * half + 1, columns - x + half)
    dyes[y - half + top : y - half + bottom, x - half + left : x - half + right] += patch[top:bottom, left:right]


def _draw_red_cells(
    rng: np.random.Generator, dyes: FloatArray, covered: NDArray[np.bool_], radius: float, density: float
) -> None:
    """Scatter red cells between the purple ones; they may touch and overlap each other a little."""
    rows, columns = covered.shape
    room = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, 3)
    centres = np.zeros((0, 3))
    for _ in range(int(density * rows * columns / radius**2)):
        x, y, size = rng.uniform(0, columns), rng.uniform(0, rows), radius * np.exp(rng.normal(0, 0.07))
        nearest = (np.hypot(centres[:, 0] - x, centres[:, 1] - y) / (centres[:, 2] + size)).min(initial=np.inf)
        if room[int(y), int(x)] > size + 2 and nearest > rng.uniform(0.72, 1.02):
            _add(dyes, draw_red_cell(rng, size), int(x), int(y))
            centres = np.vstack([centres, (x, y, size)])


def _draw_platelets(rng: np.random.Generator, dyes: FloatArray, covered: NDArray[np.bool_]) -> None:
    """Scatter platelets and, fewer and darker, grains of precipitated stain."""
    rows, columns = covered.shape
    room = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, 3)
    for _ in range(int(rng.integers(12, 30) * rows * columns / 307200) + 1):
        x, y, radius = int(rng.integers(columns)), int(rng.integers(rows)), rng.uniform(3.5, 7)
        if room[y, x] > 1.5 * radius + 3:
            _add(dyes, draw_platelet(rng, radius), x, y)
    for _ in range(int(rng.integers(3, 9))):
        x, y, radius = int(rng.integers(columns)), int(rng.integers(rows)), rng.uniform(1.6, 2.6)
        if room[y, x] > 6:
            _add(dyes, 3.0 * draw_platelet(rng, radius), x, y)
            _add(dyes, 5.0 * draw_red_cell(rng, radius), x, y)


def _light(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Relative brightness (height, width) of an unevenly lit field: a slope, darker corners."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    slope_x, slope_y = rng.normal(0, 0.018, 2)
    return np.asarray(1 + slope_x * x + slope_y * y - rng.uniform(0.01, 0.04) * (x**2 + y**2) / 2, dtype=np.float32)


def photograph(rng: np.random.Generator, dyes: FloatArray, stain: Stain) -> NDArray[np.uint8]:
    """Picture of a slide: the light that the dyes let through (Beer-Lambert), a soft lens and a noisy sensor.

    Args:
        rng: Source of the unevenness, the focus and the noise.
        dyes: Amounts of dye, (H, W, 3).
        stain: The patient's stain.

    Returns:
        RGB image (H, W, 3).
    """
    height, width = dyes.shape[:2]
    picture = np.exp(-dyes @ stain.absorbance) * (stain.light * _light(rng, height, width)[..., None])
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.55, 1.0))
    picture = picture + rng.standard_normal(dyes.shape, dtype=np.float32) * np.float32(rng.uniform(1.0, 2.2))
    return np.asarray(np.clip(np.rint(picture), 0, 255), dtype=np.uint8)


def draw_slide(
    rng: np.random.Generator,
    subtypes: Sequence[str],
    other_kinds: Sequence[str],
    *,
    height: int,
    width: int,
    stain: Stain,
) -> tuple[NDArray[np.uint8], list[PlacedCell]]:
    """Draw one field of a smear.

    Args:
        rng: Source of everything random in it.
        subtypes: Subtype of each megakaryocyte to draw, of `DEMO_CLASSES`.
        other_kinds: Kind of each other purple cell to draw, of `OTHER_CELLS`.
        height: Height in pixels.
        width: Width in pixels.
        stain: The patient's stain.

    Returns:
        The RGB image (height, width, 3) and the purple cells in it; a cell for which there is no room is left out.
    """
    cells = [(label, draw_cell(rng, SUBTYPES[label])) for label in subtypes]
    cells += [(OTHER, draw_cell(rng, OTHER_CELLS[kind])) for kind in other_kinds]
    dyes = np.zeros((height, width, 3), dtype=np.float32)
    dyes[..., 2] = np.clip(0.07 + 0.03 * smooth_noise(rng, height, width, 60), 0, None)  # a film of plasma
    dyes[..., 0] = 0.02
    placed, covered = _draw_purple_cells(rng, dyes, cells)
    _draw_red_cells(rng, dyes, covered, rng.uniform(17, 21), rng.uniform(0.35, 0.9))
    _draw_platelets(rng, dyes, covered)
    return photograph(rng, dyes, stain), sorted(placed, key=lambda cell: (cell.y, cell.x))


def _deck(
    seed: int, part: int, num_slides: int, cells_per_slide: float, other_cells_per_slide: float
) -> list[tuple[list[str], list[str]]]:
    """The megakaryocytes and the other purple cells of each slide."""
    hands = []
    for stream, kinds, mean in (_SUBTYPES, SUBTYPES, cells_per_slide), (_OTHERS, OTHER_CELLS, other_cells_per_slide):
        labels = stratified_labels(np.random.default_rng([seed, part, stream, 0]), kinds)
        hands.append(deal(np.random.default_rng([seed, part, stream, 1]), labels, mean, num_slides))
    return list(zip(*hands, strict=True))


def write_demo(
    root: Path,
    *,
    num_labeled_slides: int = 60,
    num_unlabeled_slides: int = 60,
    height: int = 480,
    width: int = 640,
    cells_per_slide: float = 6,
    other_cells_per_slide: float = 4,
    slides_per_patient: int = 3,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Write made-up slides with their labels into a folder.

    `slides/labeled_0000.jpg` ..., `slides/unlabeled_0000.jpg` ...; `cells.csv` with the megakaryocytes of the labeled
    slides; `truth.csv` with all purple cells of all slides, "other" for those that are no megakaryocytes. Labeled and
    unlabeled slides come from different patients. A slide is the same whatever the number of others.

    Args:
        root: Folder to write into, new or empty.
        num_labeled_slides: Number of slides whose megakaryocytes stand in cells.csv, >= 1.
        num_unlabeled_slides: Number of slides without labels.
        height: Height of a slide in pixels, >= 210.
        width: Width of a slide in pixels, >= 210.
        cells_per_slide: Mean number of megakaryocytes a slide, >= 1; where a slide is full the rest is left out.
        other_cells_per_slide: Mean number of other purple cells a slide.
        slides_per_patient: Number of slides that share a patient, that is a group and a stain.
        seed: Seed of everything random.
        progress: Whether to show a progress bar.

    Raises:
        InputError: A number is out of its range.
    """
    _at_least(1, num_labeled_slides=num_labeled_slides, slides_per_patient=slides_per_patient)
    _at_least(0, num_unlabeled_slides=num_unlabeled_slides, other_cells_per_slide=other_cells_per_slide, seed=seed)
    _at_least(_SMALLEST_SLIDE, height=height, width=width)
    _at_least(1, cells_per_slide=cells_per_slide)
    (root / "slides").mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str | int, ...]] = []
    parts = ("labeled", num_labeled_slides), ("unlabeled", num_unlabeled_slides)
    with tqdm(total=sum(number for _, number in parts), desc="Drawing demo slides", disable=not progress) as bar:
        for part, (name, number) in enumerate(parts):
            hands = _deck(seed, part, number, cells_per_slide, other_cells_per_slide)
            for index, (subtypes, others) in enumerate(hands):
                patient = index // slides_per_patient
                stain = draw_stain(np.random.default_rng([seed, part, _STAIN, patient]))
                rng = np.random.default_rng([seed, part, _SLIDE, index])
                picture, cells = draw_slide(rng, subtypes, others, height=height, width=width, stain=stain)
                image = f"slides/{name}_{index:04d}.jpg"
                _write_jpeg(picture, root / image)
                rows += [(image, *astuple(cell), f"{name}_patient_{patient:03d}") for cell in cells]
                bar.update()
    truth = pd.DataFrame(rows, columns=["image", "label", *BOX, "group"])
    write_table(truth[["image", *BOX, "label", "group"]], root / "truth.csv")
    known = (truth["label"] != OTHER) & truth["image"].str.startswith("slides/labeled_")
    write_table(truth[known], root / "cells.csv")


def _write_jpeg(picture: NDArray[np.uint8], path: Path) -> None:
    """Write an RGB image with colour at full resolution."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    written, data = cv2.imencode(".jpg", picture[..., ::-1], options)
    assert written
    path.write_bytes(data.tobytes())


def _at_least(lower: float, **values: float) -> None:
    for name, value in values.items():
        if not value >= lower:
            raise InputError(f"The demo slides can't be drawn with {name}={value}; it must be at least {lower}.")
