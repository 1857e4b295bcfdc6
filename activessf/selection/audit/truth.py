"""What a candidate truly shows, as far as labels tell: the class of the labeled cell that lies there.

Labels are boxes, or squares drawn round centre points that may be twice as wide as the cell. One rule serves both: a
region shows a cell if it holds the cell's centre and the cell's box holds the region's; a clump, which holds several
cells' centres, shows them all. It has no threshold that would depend on how tightly boxes were drawn.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from activessf.manifests import BOX

UNKNOWN = "(image without labels)"
NO_CELL = "(no labeled cell there)"
SEVERAL = "(several classes)"
NOT_A_LABEL = (SEVERAL, NO_CELL, UNKNOWN)


def true_labels(regions: pd.DataFrame, cells: pd.DataFrame) -> NDArray[np.object_]:
    """Label of each region, (m,).

    `UNKNOWN` where its image has no labeled cell. `NO_CELL` where no labeled cell lies there: in fields that are
    labeled throughout, that is nothing of interest. `SEVERAL` where it shows cells of different labels.

    Args:
        regions: Columns image, x, y, width, height, pixels.
        cells: The same columns, and label.
    """
    result, boxes = np.full(len(regions), UNKNOWN, object), regions[list(BOX)].to_numpy(float)
    labeled = {image: part for image, part in cells.groupby("image")}
    for image, rows in regions.groupby("image").indices.items():
        if image in labeled:
            own = labeled[image]
            result[rows] = _labels(boxes[rows], own[list(BOX)].to_numpy(float), own["label"].to_numpy(object))
    return result


def _labels(
    regions: NDArray[np.float64], cells: NDArray[np.float64], labels: NDArray[np.object_]
) -> NDArray[np.object_]:
    holds = _holds(regions, _centres(cells))  # (m, n)
    shows = (holds & _holds(cells, _centres(regions)).T).any(axis=1) | (holds.sum(axis=1) > 1)
    result = np.full(len(regions), NO_CELL, object)
    for row in np.flatnonzero(shows):
        found = set(labels[holds[row]])
        result[row] = found.pop() if len(found) == 1 else SEVERAL
    return result


def _centres(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return boxes[:, :2] + boxes[:, 2:] / 2


def _holds(boxes: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each of the boxes (m, 4) holds each of the points (n, 2): (m, n)."""
    low, high = boxes[:, None, :2], boxes[:, None, :2] + boxes[:, None, 2:]
    return np.asarray(((low <= points) & (points < high)).all(axis=2))
