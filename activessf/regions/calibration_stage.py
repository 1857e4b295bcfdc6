"""Calibration as a command: labeled fields in; a preset that can be used by name, and what it gains, out."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from activessf.data.images import read_image, write_png
from activessf.errors import InputError
from activessf.manifests import BOX, write_json, write_text
from activessf.regions.boxes import Region
from activessf.regions.calibration import LabeledField, LabelKind, agreement_of, calibrated
from activessf.regions.filtering import RegionFilter
from activessf.regions.matching import Agreement

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_SHOWN = 6
# Okabe and Ito's palette, which colour-blind people can tell apart; RGB.
_FOUND, _MISSED, _FALSE = (0, 158, 115), (230, 159, 0), (213, 94, 0)


class Plan(NamedTuple):
    """How labeled fields are used.

    Attributes:
        labels: `boxes`, or `points` where a label's box says no more than where its middle is.
        num_fields: To how many fields the settings are fitted, at most; all others check them.
        check_share: Least share of the fields that is kept to check, in (0, 1).
        apart: Points nearer to one another than this, in pixels, do not count.
        seed: Of the draw.
    """

    labels: LabelKind
    num_fields: int
    check_share: float
    apart: float
    seed: int


def calibrate(
    root: Path, cells: pd.DataFrame, start: RegionFilter, plan: Plan, name: str, presets: Path, output: Path
) -> Path:
    """Find settings of stage 1 from labeled fields, and write them as `<presets>/<name>.yaml`.

    The fields are parted into those that the settings are fitted to and those that check them; the figures are of the
    latter. Into `output` go `calibration.json` with all figures and `check.png`, checked fields before and after.

    Args:
        root: Folder that images are relative to.
        cells: Labeled cells, columns image, x, y, width, height; a cell without a box can't be used.
        start: The filter to begin with, and to compare with.
        plan: How the fields are used.
        name: Of the new preset.
        presets: Folder of the presets.
        output: An existing folder.

    Returns:
        The preset's file.

    Raises:
        InputError: The name is taken or can't be one, or there are fewer than two fields with boxes.
    """
    path = _new_preset(name, presets)
    if start.resolution is not None:
        raise InputError(
            f"regions.resolution={start.resolution} can't be calibrated with: sizes are found in pixels of the labeled "
            "fields. Leave it away, and add the fields' resolution to the preset afterwards."
        )
    fit, check = parted(cells, plan)
    unread: dict[str, str] = {}

    def fields(names: Sequence[str], doing: str) -> Iterator[LabeledField]:
        """One after the other: there may be more of them than memory holds."""
        for image in tqdm(names, doing, unit="field", disable=None):
            try:
                yield labeled_field(root, image, cells, plan.labels)
            except InputError as error:
                unread[image] = str(error)

    found = calibrated(list(fields(fit, "reading")), start, plan.apart)
    figures = {
        part: {
            key: agreement_of(used, fields(own, f"{part}, {key}"), plan.apart)
            for key, used in (("before", start), ("after", found))
        }
        for part, own in (("fit", fit), ("check", check))
    }
    print(_table(figures, plan.labels), flush=True)
    if unread:
        log.warning("%d field(s) can't be read and are left out; %s", len(unread), next(iter(unread.values())))
    write_png(picture(list(fields(check[:_SHOWN], "drawing")), start, found, plan.apart), output / "check.png")
    settings = asdict(found)
    write_json(
        {
            "name": name,
            "unread": unread,
            "fit": fit,
            "check": check,
            "plan": plan._asdict(),
            "figures": {part: {key: _as_json(value) for key, value in own.items()} for part, own in figures.items()},
            "settings": settings,
        },
        output / "calibration.json",
    )
    write_text(_preset(settings, len(fit), figures["check"]["after"], plan.labels), path)
    return path


def parted(cells: pd.DataFrame, plan: Plan) -> tuple[list[str], list[str]]:
    """Images with labeled boxes, those to fit to and those to check with, drawn at random.

    Raises:
        InputError: There are fewer than two, or the plan is none.
    """
    images = sorted(set(cells.loc[cells[list(BOX)].notna().all(axis=1), "image"]))
    if len(images) < 2:
        raise InputError(
            f"{len(images)} image(s) have labeled boxes; calibration needs two at least, one to fit and one to check."
        )
    if not 0 < plan.check_share < 1:
        raise InputError(f"calibration.check_share={plan.check_share} must lie between 0 and 1.")
    if plan.labels not in ("boxes", "points"):
        raise InputError(f"calibration.labels={plan.labels} is neither boxes nor points.")
    if plan.num_fields < 1:
        raise InputError(f"calibration.num_fields={plan.num_fields} must be at least 1.")
    order = [images[index] for index in np.random.default_rng(plan.seed).permutation(len(images))]
    least = min(max(1, round(plan.check_share * len(images))), len(images) - 1)
    num_fit = min(plan.num_fields, len(images) - least)
    return order[:num_fit], order[num_fit:]


def picture(
    fields: Sequence[LabeledField], before: RegionFilter, after: RegionFilter, apart: float
) -> NDArray[np.uint8]:
    """Fields side by side as the two filters see them, RGB: found green, missed yellow, regions without label red."""
    rows = []
    height = max(field.image.shape[0] for field in fields)
    width = max(field.image.shape[1] for field in fields)
    for field in fields:
        pair = []
        for title, region_filter in (("before", before), ("after", after)):
            drawing = np.full((height, width, 3), 255, np.uint8)
            own = _drawn_on(field, region_filter(field.image), apart)
            drawing[: own.shape[0], : own.shape[1]] = own
            text = f"{title}: {field.name}"
            (length, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 1)
            cv2.rectangle(drawing, (0, 0), (length + 16, 30), (255, 255, 255), cv2.FILLED)
            cv2.putText(drawing, text, (8, 21), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
            pair.append(drawing)
        rows.append(np.hstack(pair))
    return np.vstack(rows)


def _drawn_on(field: LabeledField, regions: Sequence[Region], apart: float) -> NDArray[np.uint8]:
    drawing = field.image.copy()
    match = field.match(regions, apart)
    for region, right in zip(regions, match.right, strict=True):
        corners = (region.x, region.y), (region.x + region.width - 1, region.y + region.height - 1)
        cv2.rectangle(drawing, *corners, _FOUND if right else _FALSE, 3)
    for label, found in zip(field.labels, match.found, strict=True):
        if found:
            continue
        x, y, *size = (round(float(value)) for value in label)
        if size:
            cv2.rectangle(drawing, (x, y), (x + size[0], y + size[1]), _MISSED, 3)
        else:
            cv2.drawMarker(drawing, (x, y), _MISSED, cv2.MARKER_CROSS, 20, 3)
    return drawing


def _new_preset(name: str, presets: Path) -> Path:
    if not _NAME.fullmatch(name):
        raise InputError(f"calibrate={name} can't be the name of a preset; use letters, digits and underscores.")
    path = presets / f"{name}.yaml"
    if not os.access(presets if presets.is_dir() else presets.parent, os.W_OK):
        raise InputError(f"{presets} can't be written, where the preset is to go; make it writable.")
    if path.exists():
        raise InputError(f"There is a preset {name} already ({path}); choose another name, or take the file away.")
    return path


def labeled_field(root: Path, image: str, cells: pd.DataFrame, kind: LabelKind) -> LabeledField:
    """One field, read, with the labels that it has in the table."""
    boxes = cells.loc[cells["image"] == image, list(BOX)].dropna().to_numpy(np.float64)
    labels = boxes if kind == "boxes" else boxes[:, :2] + boxes[:, 2:] / 2
    return LabeledField(image, read_image(root / image), labels)


def _table(figures: dict[str, dict[str, Agreement]], kind: LabelKind) -> str:
    lines = [f"{'':>14} {'labels':>7} {'recall':>7} {'precision':>10} {'overlap':>8} {'false/field':>12}"]
    for part, own in figures.items():
        for key, value in own.items():
            overlap = "-" if np.isnan(value.mean_overlap) else f"{value.mean_overlap:.3f}"
            lines.append(
                f"{part + ', ' + key:>14} {value.labels:>7} {value.recall:>7.3f} {value.precision:>10.3f} "
                f"{overlap:>8} {value.false_per_field:>12.2f}"
            )
    if kind == "points":
        lines.append("Points: where not every cell is labeled, a region without a point is no mistake.")
    return "\n".join(lines)


def _as_json(value: Agreement) -> dict[str, Any]:
    return {
        **{key: None if key == "mean_overlap" and np.isnan(item) else item for key, item in asdict(value).items()},
        "recall": value.recall,
        "precision": value.precision,
        "false_per_field": value.false_per_field,
    }


def _preset(settings: dict[str, Any], num_fields: int, check: Agreement, kind: LabelKind) -> str:
    target = {"_target_": f"{RegionFilter.__module__}.{RegionFilter.__name__}", "_convert_": "all"}
    body = yaml.safe_dump({**target, **settings}, sort_keys=False, default_flow_style=None, width=110)
    counted = "isolated centre points" if kind == "points" else "labeled boxes"
    return (
        f"# Calibrated on {num_fields} labeled fields. On {check.fields} others: recall {check.recall:.3f} of "
        f"{check.labels} {counted},\n# precision {check.precision:.3f}, {check.false_per_field:.2f} regions without "
        f"label a field. Hue in half degrees, as in OpenCV; sizes in px.\n{body}"
    )
