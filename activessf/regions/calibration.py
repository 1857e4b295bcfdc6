"""Settings of stage 1 found from a few labeled fields (not in the paper, whose numbers are for its own stain)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from activessf.errors import InputError
from activessf.regions.boxes import Region
from activessf.regions.candidates import Setting, first_filter, shape_settings, stain_settings
from activessf.regions.colours import quantise
from activessf.regions.filtering import RegionFilter
from activessf.regions.matching import Agreement, Match, agreement, match_boxes, match_points
from activessf.regions.normalisation import Method, normalise
from activessf.regions.stain import hsv, in_ranges

LabelKind = Literal["boxes", "points"]

# The first that is nearly as good as the best is taken: min-max hangs on a field's darkest and brightest pixel.
_NORMALISATIONS: tuple[Method, ...] = ("gray_world", "none", "minmax")
# Twenty cells don't tell scores apart that are nearer than this.
_NEARLY = 0.02
# Once over the stain, then over all settings again.
_ROUNDS = 3
# Scores closer than this are a tie, and of a run of ties the middle is taken.
_TIE = 0.004
# The slides to come are stained a little otherwise than the labeled ones: hue in half degrees, factors of saturation
# and value. A setting has to hold for all of these.
_CHANGES = (
    (0, 1, 1),
    *((hue, 1, 1) for hue in (-10, -5, 5, 10)),
    *((0, saturation, 1) for saturation in (0.65, 0.8, 1.25, 1.5)),
    *((0, 1, value) for value in (0.85, 0.92, 1.08)),
    *((hue, saturation, 1) for hue in (-5, 5) for saturation in (0.8, 1.25)),
    *((0, saturation, value) for saturation in (0.8, 1.25) for value in (0.92, 1.08)),
)
# Masks that are kept of a field, since the next candidate may differ in what comes after them.
_MOST_MASKS = 64
# Regions of less than half or more than twice the usual size are no cells like the others.
_USUAL = 2.0


@dataclass(frozen=True)
class LabeledField:
    """One field with its labels.

    Attributes:
        name: Its path.
        image: RGB, (H, W, 3).
        labels: Boxes of x, y, width, height in pixels, (n, 4); or points of x, y, (n, 2).
    """

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.float64]

    @property
    def kind(self) -> LabelKind:
        """Whether the labels are boxes or centre points."""
        return "boxes" if self.labels.shape[1] == 4 else "points"

    def match(self, regions: Sequence[Region], apart: float) -> Match:
        """The labels against regions; `apart` is for points, see `match_points`."""
        if self.kind == "boxes":
            return match_boxes(self.labels, regions)
        return match_points(self.labels, regions, apart, self.image.shape[:2])


def calibrated(
    fields: Sequence[LabeledField], start: RegionFilter, apart: float, progress: bool = True
) -> RegionFilter:
    """The filter that agrees best with the labels of a few fields.

    For each normalisation the fields' colours are found once; then a candidate costs a look-up and the boxes. The
    search begins with the HSV box of the colours that are likelier inside the labels than outside, and with the
    filter to start from, and changes one setting at a time: bounds of the stain, closing, hole filling, sizes, fill
    bound, margin, and the parting of cells that touch. A candidate is scored on the fields as they are and as if they
    were stained a little otherwise (`_CHANGES`), and of values that do alike a middle one is taken, since the slides to
    come are stained a little otherwise. The score is F1 at an overlap of 0.5 and a part of
    the mean overlap for boxes; for points, of which a field may have fewer than cells, it is the recall of the
    isolated ones, less the share of regions of unusual size.

    Args:
        fields: With labels of one kind.
        start: Gives blur, number of colours and seed, and a candidate to begin with.
        apart: Points nearer to one another than this do not count.
        progress: Whether to show a progress bar.

    Raises:
        InputError: There are no labels, or nothing that is found agrees with any.
    """
    if not sum(len(field.labels) for field in fields):
        raise InputError("The fields hold no label to calibrate from; give fields with labeled cells.")
    sizes = _label_sizes(fields, apart)
    found = []
    with tqdm(total=_ROUNDS * len(_NORMALISATIONS), desc="calibration", disable=None if progress else True) as bar:
        for method in _NORMALISATIONS:
            beginning = replace(start, normalisation=method, reference=None)
            prepared = [_Prepared(field, beginning, apart) for field in fields]
            found.append(_searched(prepared, beginning, sizes, bar))
    top = max(score for _, score in found)
    best, score = next((own, score) for own, score in found if score >= top - _NEARLY)
    if score <= 0:
        raise InputError(
            "No setting finds any of the labeled cells: their colour is that of what surrounds them. Check the labels, "
            "or set regions.stain_ranges by hand."
        )
    return best


def agreement_of(region_filter: RegionFilter, fields: Iterable[LabeledField], apart: float) -> Agreement:
    """How a filter's regions agree with the labels of fields."""
    return agreement(field.match(region_filter(field.image), apart) for field in fields)


def _searched(
    prepared: Sequence[_Prepared], beginning: RegionFilter, sizes: tuple[float, float], bar: Any
) -> tuple[RegionFilter, float]:
    """The best filter of one normalisation, and its score."""
    stain, shape = stain_settings(), shape_settings(*sizes)
    first = _first(prepared, beginning, sizes)
    starts = [first, replace(first, stain_ranges=beginning.stain_ranges[:1])]
    best, score = max((_climbed(own, stain, prepared) for own in starts), key=lambda found: found[1])
    bar.update()
    for _ in range(_ROUNDS - 1):
        best, score = _climbed(best, shape, prepared)
        best, score = _climbed(best, stain, prepared)
        bar.update()
    return best, score


class _Outcome(NamedTuple):
    """What a candidate finds in one field: the labels against its regions, and the sides of these, (m,)."""

    match: Match
    sides: NDArray[np.float64]


class _Prepared:
    """A field whose colours are known, and what candidates have found in it, so that one more costs little.

    Attributes:
        field: With its labels.
        palette: Its colours.
        inside: Pixels of each of them inside the labels, (K,).
    """

    def __init__(self, field: LabeledField, region_filter: RegionFilter, apart: float) -> None:
        """Colours as the filter finds them; `apart` is for points, see `match_points`."""
        self._apart = apart
        smoothed = region_filter.smoothed(normalise(field.image, region_filter.normalisation, None))
        self.field = field
        self.palette, self._planes = quantise(
            smoothed, region_filter.num_colours, region_filter.merged_colours, region_filter.seed
        )
        labels = self.palette.labels(self._planes)[_inside(field)]
        self.inside = np.bincount(labels, minlength=len(self.palette.colours)).astype(np.float64)
        colours = hsv(self.palette.colours[None])[0].astype(np.float64)
        self._stains = [_restained(colours, *change) for change in _CHANGES]
        self._masks: dict[Any, NDArray[np.uint8]] = {}
        self._outcomes: dict[Any, _Outcome] = {}

    def outcomes(self, region_filter: RegionFilter) -> Iterator[_Outcome]:
        """What a filter finds in the field as it is, and if it were stained a little otherwise."""
        for stain in self._stains:
            yield self._outcome(region_filter, in_ranges(stain, region_filter.stain_ranges))

    def _outcome(self, region_filter: RegionFilter, stained: NDArray[np.bool_]) -> _Outcome:
        shape = (stained.tobytes(), region_filter.closing, region_filter.fill_holes)
        size = (region_filter.min_size, region_filter.max_size, region_filter.min_fill_rate)
        key = (*shape, *size, region_filter.margin, region_filter.split_touching)
        if key not in self._outcomes:
            if shape not in self._masks:
                if len(self._masks) >= _MOST_MASKS:
                    self._masks.clear()
                self._masks[shape] = region_filter.cleaned(self.palette.mask(self._planes, stained))
            regions = region_filter.in_mask(self._masks[shape]).regions
            sides = np.array([np.sqrt(region.width * region.height) for region in regions])
            self._outcomes[key] = _Outcome(self.field.match(regions, self._apart), sides)
        return self._outcomes[key]


def _restained(colours: NDArray[np.float64], hue: float, saturation: float, value: float) -> NDArray[np.uint8]:
    """HSV colours, (K, 3), of a slide that is stained or lit a little otherwise."""
    moved = np.stack([(colours[:, 0] + hue) % 180, colours[:, 1] * saturation, colours[:, 2] * value], axis=1)
    return np.clip(np.rint(moved), 0, [179, 255, 255]).astype(np.uint8)


def _inside(field: LabeledField) -> NDArray[np.bool_]:
    """Pixels that belong to labeled cells: the inner two thirds of boxes, or small discs round points."""
    rows, columns = np.ogrid[: field.image.shape[0], : field.image.shape[1]]
    inside = np.zeros(field.image.shape[:2], np.bool_)
    for x, y, width, height in _ellipses(field):
        inside |= ((columns - x) / width) ** 2 + ((rows - y) / height) ** 2 <= 1
    return inside


def _ellipses(field: LabeledField) -> Iterator[tuple[float, float, float, float]]:
    """Middle and half axes."""
    if field.kind == "boxes":
        for x, y, width, height in field.labels:
            yield x + width / 2, y + height / 2, max(width / 3, 1), max(height / 3, 1)
    else:
        for x, y in field.labels:
            yield x, y, 12.0, 12.0


def _first(prepared: Sequence[_Prepared], start: RegionFilter, sizes: tuple[float, float]) -> RegionFilter:
    """The filter that the colours inside and outside the labels suggest."""
    colours = np.concatenate([item.palette.colours for item in prepared])
    inside = np.concatenate([item.inside for item in prepared])
    every = np.concatenate([item.palette.sizes for item in prepared])
    return first_filter(start, colours, inside, np.maximum(every - inside, 0), sizes)


def _label_sizes(fields: Sequence[LabeledField], apart: float) -> tuple[float, float]:
    """Least and greatest side of a labeled cell; of points, what their distance allows."""
    if fields[0].kind == "points":
        return apart / 2, apart
    sides = np.concatenate([field.labels[:, 2:] for field in fields])
    return float(sides.min()), float(sides.max())


def _climbed(
    start: RegionFilter, settings: Sequence[Setting], prepared: Sequence[_Prepared]
) -> tuple[RegionFilter, float]:
    """Change one setting after the other for the better."""
    best, score = start, _score(start, prepared)
    for candidates, place in settings:
        best, score = _best_of(candidates(best), place, best, score, prepared)
    return best, score


def _best_of(
    candidates: Sequence[RegionFilter],
    place: float,
    best: RegionFilter,
    best_score: float,
    prepared: Sequence[_Prepared],
) -> tuple[RegionFilter, float]:
    """The candidate at a place, in [0, 1), of the longest run of those, in their order, that score alike and best."""
    scores = [best_score if candidate == best else _score(candidate, prepared) for candidate in candidates]
    top = max([*scores, best_score])
    runs: list[list[int]] = [[]]
    for index, score in enumerate(scores):
        if score >= top - _TIE:
            runs[-1].append(index)
        elif runs[-1]:
            runs.append([])
    longest = max(runs, key=len)
    if not longest:
        return best, best_score
    chosen = longest[int(len(longest) * place)]
    return candidates[chosen], scores[chosen]


def _score(region_filter: RegionFilter, prepared: Sequence[_Prepared]) -> float:
    """Mean over the changes of the stain, the fields as they are counting twice."""
    found = list(zip(*(item.outcomes(region_filter) for item in prepared), strict=True))
    return float(np.mean([_agreement_score(outcomes, prepared[0].field.kind) for outcomes in [found[0], *found]]))


def _agreement_score(outcomes: Sequence[_Outcome], kind: LabelKind) -> float:
    found = agreement(outcome.match for outcome in outcomes)
    if kind == "boxes":
        overlap = 0.0 if np.isnan(found.mean_overlap) else found.mean_overlap
        return found.f1 * (0.85 + 0.15 * overlap)
    # Isolated points are few; the crowded ones say too whether cells come apart.
    everything = float(np.concatenate([outcome.match.found for outcome in outcomes]).mean())
    return (found.recall + everything) / 2 - 0.5 * _unusual(np.concatenate([outcome.sides for outcome in outcomes]))


def _unusual(sides: NDArray[np.float64]) -> float:
    """Share of regions of less than half or more than twice the usual size."""
    if not sides.size:
        return 0.0
    ratio = sides / np.median(sides)
    return float(np.mean((ratio > _USUAL) | (ratio < 1 / _USUAL)))
