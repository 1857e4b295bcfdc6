"""How well regions agree with labels: boxes, or centre points where nothing but those is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from activessf.regions.boxes import Region

# A box is found at this intersection over union, as detections usually are counted.
LEAST_OVERLAP = 0.5


class Match(NamedTuple):
    """What became of one field's labels and regions.

    Attributes:
        found: Which labels have a region of their own, (n,).
        right: Which regions have a label of their own, (m,).
        counted: Which labels count at all, (n,).
        overlaps: Intersection over union of the pairs; empty for points.
    """

    found: NDArray[np.bool_]
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    overlaps: NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Labels against regions over several fields.

    Attributes:
        fields: Number of fields.
        labels: Labels that count.
        found: Those of them that have a region of their own.
        regions: Number of regions.
        right: Those of them that have a label of their own.
        mean_overlap: Mean intersection over union of the pairs; NaN for points, and where there is no pair.
    """

    fields: int
    labels: int
    found: int
    regions: int
    right: int
    mean_overlap: float

    @property
    def recall(self) -> float:
        """Share of the labels that is found."""
        return self.found / self.labels if self.labels else 0.0

    @property
    def precision(self) -> float:
        """Share of the regions that is right."""
        return self.right / self.regions if self.regions else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    @property
    def false_per_field(self) -> float:
        """Regions without a label, per field."""
        return (self.regions - self.right) / self.fields if self.fields else 0.0


def match_boxes(boxes: NDArray[np.float64], regions: Sequence[Region]) -> Match:
    """Pair labeled boxes (n, 4) of x, y, width, height with regions, so that the overlaps' sum is greatest."""
    overlaps = overlap(boxes, corners(regions))
    overlaps[overlaps < LEAST_OVERLAP] = 0
    rows, columns = linear_sum_assignment(-overlaps)
    paired = overlaps[rows, columns] > 0
    found, right = np.zeros(len(boxes), np.bool_), np.zeros(len(regions), np.bool_)
    found[rows[paired]], right[columns[paired]] = True, True
    return Match(found, right, np.ones(len(boxes), np.bool_), overlaps[rows, columns][paired])


def match_points(points: NDArray[np.float64], regions: Sequence[Region], apart: float, size: tuple[int, int]) -> Match:
    """Pair points (n, 2) of x, y with regions that hold one and no other.

    Args:
        points: Centres of labeled cells.
        regions: What was found.
        apart: Only points farther than this from all others, and than half of it from the border, count.
        size: Height and width of the field.
    """
    x, y, width, height = corners(regions).T[..., None]
    inside = (x <= points[:, 0]) & (points[:, 0] < x + width) & (y <= points[:, 1]) & (points[:, 1] < y + height)
    right = inside.sum(axis=1) == 1
    found = (inside & right[:, None]).any(axis=0) & (inside.sum(axis=0) == 1)
    return Match(found, right, isolated(points, apart, size), np.empty(0))


def isolated(points: NDArray[np.float64], apart: float, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which points, (n, 2), are farther than `apart` from all others and than half of it from the border."""
    nearest = cKDTree(points).query(points, k=2)[0][:, 1] if len(points) > 1 else np.full(len(points), np.inf)
    border = np.concatenate([points, np.array(size[::-1]) - points], axis=1).min(axis=1)
    return np.asarray((nearest > apart) & (border > apart / 2), dtype=np.bool_)


def agreement(matches: Iterable[Match]) -> Agreement:
    """The fields' matches in one."""
    matches = list(matches)
    overlaps = np.concatenate([match.overlaps for match in matches]) if matches else np.empty(0)
    return Agreement(
        len(matches),
        int(sum(match.counted.sum() for match in matches)),
        int(sum((match.found & match.counted).sum() for match in matches)),
        int(sum(len(match.right) for match in matches)),
        int(sum(match.right.sum() for match in matches)),
        float(overlaps.mean()) if overlaps.size else float("nan"),
    )


def corners(regions: Sequence[Region]) -> NDArray[np.float64]:
    """Boxes of regions, (m, 4): x, y, width, height."""
    return np.array([region[:4] for region in regions], np.float64).reshape(-1, 4)


def overlap(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes (n, 4) and (m, 4) of x, y, width, height: (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    union = first[:, 2:].prod(axis=1)[:, None] + second[:, 2:].prod(axis=1)[None] - shared
    return np.asarray(shared / np.maximum(union, 1e-12))
