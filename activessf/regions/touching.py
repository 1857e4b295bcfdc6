"""Cells that touch: one connected region taken apart by its distance transform (not in the paper)."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

# Two cells part where the neck between them is less than this share as deep as the shallower one. What is lobed,
# oval or dented is deeper than that between its parts, and stays one.
_NECK = 0.75
# Peaks less deep than this share of the least size are bumps of the outline, not cells.
_LEAST_DEPTH = 0.25
# How finely the depth is scanned for necks.
_STEPS = 24


class _Peak(NamedTuple):
    row: int
    column: int
    depth: float


def split(component: NDArray[np.bool_], min_size: int) -> NDArray[np.int32]:
    """Take a connected region apart at its necks.

    Depth is the distance to the region's border. Its peaks are the middles of cells, unless the neck towards a deeper
    one is nearly as deep as the peak itself. The others share the pixels as discs do that are as large as they are
    deep, so that pieces meet at the necks. (Watersheds of the depth leave steps and stray pixels there.)

    Args:
        component: Connected (8 neighbours), (h, w).
        min_size: Least width and height of a cell in pixels; peaks less deep than a quarter of it are no cells.

    Returns:
        0 outside, 1..n in the pieces, (h, w), from top to bottom and left to right by their middles. Every pixel of
        the region belongs to exactly one piece, each piece is connected, and n is 1 where there is nothing to part.
    """
    padded = np.pad(component, 1).astype(np.uint8)
    depth = np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), dtype=np.float32)
    peaks = _apart([peak for peak in _peaks(depth) if peak.depth >= _LEAST_DEPTH * min_size])
    if len(peaks) < 2:
        return component.astype(np.int32)
    return _parted(depth, sorted(peaks))[1:-1, 1:-1]


def _peaks(depth: NDArray[np.float32]) -> list[_Peak]:
    """The middles, found from the deepest level to the border: where two meet at too deep a neck, one goes."""
    peaks: list[_Peak] = []
    for level in np.linspace(float(depth.max()), 0, _STEPS, endpoint=False)[1:]:
        count, labels = cv2.connectedComponents((depth > level).astype(np.uint8), connectivity=8)
        met: dict[int, list[_Peak]] = {label: [] for label in range(1, count)}
        for peak in peaks:
            met[int(labels[peak.row, peak.column])].append(peak)
        peaks = []
        for label, group in met.items():
            deepest = sorted(group or [_deepest(depth, labels == label)], key=lambda peak: (-peak.depth, peak))
            peaks += [peak for rank, peak in enumerate(deepest) if rank == 0 or level <= _NECK * peak.depth]
    return peaks


def _deepest(depth: NDArray[np.float32], part: NDArray[np.bool_]) -> _Peak:
    row, column = divmod(int(np.where(part, depth, -1).argmax()), depth.shape[1])
    return _Peak(row, column, float(depth[row, column]))


def _apart(peaks: list[_Peak]) -> list[_Peak]:
    """Without the peaks that lie deeper in another's disc than in their own."""
    return [peak for peak in peaks if peak.depth**2 >= max(other.depth**2 - _squared(peak, other) for other in peaks)]


def _squared(first: _Peak, second: _Peak) -> int:
    return (first.row - second.row) ** 2 + (first.column - second.column) ** 2


def _parted(depth: NDArray[np.float32], peaks: list[_Peak]) -> NDArray[np.int32]:
    """Every pixel to the disc round a peak, as large as it is deep, that it lies deepest in (power diagram)."""
    rows, columns = np.ogrid[: depth.shape[0], : depth.shape[1]]
    powers = [(rows - peak.row) ** 2 + (columns - peak.column) ** 2 - peak.depth**2 for peak in peaks]
    nearest = np.where(depth > 0, np.argmin(powers, axis=0) + 1, 0)
    labels = np.zeros(depth.shape, np.int32)
    for number, peak in enumerate(peaks, start=1):
        _, parts = cv2.connectedComponents((nearest == number).astype(np.uint8), connectivity=8)
        labels[(parts == parts[peak.row, peak.column]) & (nearest == number)] = number
    # What a bend has cut off from its own piece goes to the piece beside it.
    while (missing := (depth > 0) & (labels == 0)).any():
        beside = cv2.dilate(labels.astype(np.float32), np.ones((3, 3), np.uint8))
        labels[missing] = beside[missing].astype(np.int32)
    return labels
