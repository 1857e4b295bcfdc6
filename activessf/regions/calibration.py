"""Settings of stage 1 found from a few labeled fields (not in the paper, whose numbers are for its own stain)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from activessf.errors import InputError
from activessf.regions.boxes import Region
from activessf.regions.colours import quantise
from activessf.regions.filtering import RegionFilter
from activessf.regions.matching import Agreement, Match, agreement, match_boxes, match_points
from activessf.regions.normalisation import Method, normalise
from activessf.regions.stain import StainRange, hsv, in_ranges

LabelKind = Literal["boxes", "points"]

_Setting = tuple[Callable[[RegionFilter], list[RegionFilter]], float]

_NORMALISATIONS: tuple[Method, ...] = ("minmax", "gray_world", "none")
# Scores closer than this are a tie, and of a run of ties the middle is taken.
_TIE = 0.004
# The slides to come are stained a little otherwise than the labeled ones: hue in half degrees, factors of saturation
# and value. A setting has to hold for all of these.
_CHANGES = ((0, 1, 1), (-5, 1, 1), (5, 1, 1), (0, 0.8, 1), (0, 1.2, 1), (0, 1, 0.92), (0, 1, 1.08))
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
    bound, margin, and the parting of cells that touch. Where several values of a setting score alike the middle one is
    taken, since other slides are stained a little differently. The score is F1 at an overlap of 0.5 and a part of
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
    low, high = _label_sizes(fields, apart)
    stain, shape = _stain_settings(), _shape_settings(low, high)
    starts = []
    with tqdm(total=2 * len(_NORMALISATIONS) + 2, desc="calibration", disable=None if progress else True) as bar:
        for method in _NORMALISATIONS:
            beginning = replace(start, normalisation=method, reference=None)
            prepared = [_Prepared(field, beginning) for field in fields]
            first = _first(prepared, beginning, low, high)
            for candidate in (first, replace(first, stain_ranges=start.stain_ranges[:1])):
                starts.append((*_climbed(candidate, stain, prepared, apart), prepared))
                bar.update()
        best, score, prepared = max(starts, key=lambda found: found[1])
        for _ in range(2):
            best, score = _climbed(best, shape, prepared, apart)
            best, score = _climbed(best, stain, prepared, apart)
            bar.update()
    if score <= 0:
        raise InputError(
            "No setting finds any of the labeled cells: their colour is that of what surrounds them. Check the labels, "
            "or set regions.stain_ranges by hand."
        )
    return best


def agreement_of(region_filter: RegionFilter, fields: Iterable[LabeledField], apart: float) -> Agreement:
    """How a filter's regions agree with the labels of fields."""
    return agreement(field.match(region_filter(field.image), apart) for field in fields)


class _Prepared:
    """A field whose colours are known, and what candidates have found in it, so that one more costs little.

    Attributes:
        field: With its labels.
        palette: Its colours.
        inside: Pixels of each of them inside the labels, (K,).
    """

    def __init__(self, field: LabeledField, region_filter: RegionFilter) -> None:
        """Colours as the filter finds them."""
        smoothed = region_filter.smoothed(normalise(field.image, region_filter.normalisation, None))
        self.field = field
        self.palette, self._bins = quantise(
            smoothed, region_filter.num_colours, region_filter.merged_colours, region_filter.seed
        )
        labels = self.palette.labels(self._bins)[_inside(field)]
        self.inside = np.bincount(labels, minlength=len(self.palette.colours)).astype(np.float64)
        colours = hsv(self.palette.colours[None])[0].astype(np.float64)
        self._stains = [_restained(colours, *change) for change in _CHANGES]
        self._masks: dict[Any, NDArray[np.uint8]] = {}
        self._found: dict[Any, list[Region]] = {}

    def regions(self, region_filter: RegionFilter) -> Iterator[list[Region]]:
        """What a filter finds in the field as it is, and if it were stained a little otherwise."""
        for stain in self._stains:
            yield self._regions(region_filter, in_ranges(stain, region_filter.stain_ranges))

    def _regions(self, region_filter: RegionFilter, stained: NDArray[np.bool_]) -> list[Region]:
        shape = (stained.tobytes(), region_filter.closing, region_filter.fill_holes)
        size = (region_filter.min_size, region_filter.max_size, region_filter.min_fill_rate)
        key = (*shape, *size, region_filter.margin, region_filter.split_touching)
        if key not in self._found:
            if shape not in self._masks:
                self._masks[shape] = region_filter.cleaned(self.palette.mask(self._bins, stained))
            self._found[key] = region_filter.in_mask(self._masks[shape]).regions
        return self._found[key]


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


def _first(prepared: Sequence[_Prepared], start: RegionFilter, low: float, high: float) -> RegionFilter:
    """A filter whose range is the HSV box of the colours that are likelier inside the labels than outside."""
    colours = np.concatenate([item.palette.colours for item in prepared])
    inside = np.concatenate([item.inside for item in prepared])
    outside = np.maximum(np.concatenate([item.palette.sizes for item in prepared]) - inside, 0)
    likelier = inside / inside.sum() > 2 * outside / max(outside.sum(), 1)
    if not likelier.any():
        likelier = inside >= np.quantile(inside, 0.8)
    stain = _surrounding(hsv(colours[None])[0][likelier], inside[likelier])
    return replace(
        start,
        stain_ranges=[stain],
        fill_holes=True,
        min_size=max(1, round(0.5 * low)),
        max_size=max(1, round(2 * high)),
        min_fill_rate=0.5,
        split_touching=False,
    )


def _surrounding(colours: NDArray[np.uint8], weights: NDArray[np.float64]) -> StainRange:
    """The range that holds most of the weight, without a tenth at either end; the hue as an arc round its mean."""
    angles = colours[:, 0] * (np.pi / 90)
    middle = float(np.angle((weights * np.exp(1j * angles)).sum()))
    turned = np.rint((np.angle(np.exp(1j * (angles - middle)))) * 90 / np.pi)
    low, high = _quantiles(turned, weights)
    centre = middle * 90 / np.pi
    saturation, value = _quantiles(colours[:, 1], weights), _quantiles(colours[:, 2], weights)
    return {
        "name": "calibrated",
        "hue": [round(centre + low - 12) % 180, round(centre + high + 12) % 180],
        "saturation": [max(0, round(saturation[0] - 15)), 255],
        "value": [max(0, round(value[0] - 40)), min(255, round(value[1] + 15))],
    }


def _quantiles(values: NDArray[Any], weights: NDArray[np.float64]) -> tuple[float, float]:
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    low, high = (values[order][min(int(np.searchsorted(share, quantile)), len(values) - 1)] for quantile in (0.1, 0.9))
    return float(low), float(high)


def _label_sizes(fields: Sequence[LabeledField], apart: float) -> tuple[float, float]:
    """Least and greatest side of a labeled cell; of points, what their distance allows."""
    if fields[0].kind == "points":
        return apart / 2, apart
    sides = np.concatenate([field.labels[:, 2:] for field in fields])
    return float(sides.min()), float(sides.max())


def _climbed(
    start: RegionFilter, settings: Sequence[_Setting], prepared: Sequence[_Prepared], apart: float
) -> tuple[RegionFilter, float]:
    """Change one setting after the other for the better."""
    best, score = start, _score(start, prepared, apart)
    for candidates, place in settings:
        best, score = _best_of(candidates(best), place, best, score, prepared, apart)
    return best, score


def _best_of(
    candidates: Sequence[RegionFilter],
    place: float,
    best: RegionFilter,
    best_score: float,
    prepared: Sequence[_Prepared],
    apart: float,
) -> tuple[RegionFilter, float]:
    """The candidate at a place, in [0, 1), of the longest run of those, in their order, that score alike and best."""
    scores = [best_score if candidate == best else _score(candidate, prepared, apart) for candidate in candidates]
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


def _score(region_filter: RegionFilter, prepared: Sequence[_Prepared], apart: float) -> float:
    """Mean over the changes of the stain, the fields as they are counting twice."""
    found = list(zip(*(item.regions(region_filter) for item in prepared), strict=True))
    scores = [_agreement_score([item.field for item in prepared], regions, apart) for regions in [found[0], *found]]
    return float(np.mean(scores))


def _agreement_score(fields: Sequence[LabeledField], regions: Sequence[Sequence[Region]], apart: float) -> float:
    matches = [field.match(own, apart) for field, own in zip(fields, regions, strict=True)]
    found = agreement(matches)
    if fields[0].kind == "boxes":
        overlap = 0.0 if np.isnan(found.mean_overlap) else found.mean_overlap
        return found.f1 * (0.85 + 0.15 * overlap)
    # Isolated points are few; the crowded ones say too whether cells come apart.
    everything = float(np.concatenate([match.found for match in matches]).mean())
    return (found.recall + everything) / 2 - 0.5 * _unusual(regions)


def _unusual(regions: Sequence[Sequence[Region]]) -> float:
    """Share of regions of less than half or more than twice the usual size."""
    sides = np.array([np.sqrt(region.width * region.height) for own in regions for region in own])
    if not sides.size:
        return 0.0
    ratio = sides / np.median(sides)
    return float(np.mean((ratio > _USUAL) | (ratio < 1 / _USUAL)))


def _stained(region_filter: RegionFilter, channel: str, end: int, values: Iterable[int]) -> list[RegionFilter]:
    """Candidates with other bounds of the first range."""
    first, rest = region_filter.stain_ranges[0], list(region_filter.stain_ranges[1:])
    result = []
    for bound in values:
        bounds = list(first[channel])  # type: ignore[literal-required]
        bounds[end] = bound
        if channel == "hue" or bounds[0] <= bounds[1]:
            stain: Any = {**first, channel: bounds}
            result.append(replace(region_filter, stain_ranges=[stain, *rest]))
    return result


def _hues(region_filter: RegionFilter, end: int) -> list[RegionFilter]:
    bound = region_filter.stain_ranges[0]["hue"][end]
    return _stained(region_filter, "hue", end, [(bound + step) % 180 for step in range(-20, 21, 5)])


def _bounds(region_filter: RegionFilter, channel: str, end: int) -> list[RegionFilter]:
    bound = int(region_filter.stain_ranges[0][channel][end])  # type: ignore[literal-required]
    steps = [bound + step for step in (-60, -40, -25, -15, -8, 0, 8, 15, 25, 40, 60)]
    return _stained(region_filter, channel, end, sorted({min(max(step, 0), 255) for step in steps}))


def _stain_settings() -> list[_Setting]:
    return [
        (lambda f: _bounds(f, "saturation", 0), 0.5),
        (lambda f: _hues(f, 0), 0.5),
        (lambda f: _hues(f, 1), 0.5),
        (lambda f: _bounds(f, "value", 1), 0.5),
        (lambda f: _bounds(f, "value", 0), 0.5),
    ]


def _shape_settings(low: float, high: float) -> list[_Setting]:
    """What is made of the mask. Sizes are by the least and greatest side of a label, from loose to tight.

    Of sizes that do equally well a loose one is taken: cells that the border cuts are smaller than all in a few fields.
    """
    smallest = sorted({max(1, round(low * factor)) for factor in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)})
    largest = sorted({round(high * factor) for factor in (1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5)}, reverse=True)
    margins = sorted({round(low * factor) for factor in (0, 0.03, 0.06, 0.09, 0.12, 0.16, 0.2)})
    fill_rates = (0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
    return [
        (lambda f: [replace(f, fill_holes=fill) for fill in (False, True)], 0.5),
        (lambda f: [replace(f, closing=closing) for closing in (0, 3, 5, 7, 9, 11, 13, 17)], 0.5),
        (lambda f: [replace(f, margin=margin) for margin in margins], 0.5),
        (lambda f: [replace(f, min_size=size) for size in smallest], 0.25),
        (lambda f: [replace(f, max_size=size) for size in largest], 0.25),
        (lambda f: [replace(f, min_fill_rate=fill) for fill in fill_rates], 0.5),
        (lambda f: [replace(f, split_touching=parted) for parted in (False, True)], 0.5),
    ]
