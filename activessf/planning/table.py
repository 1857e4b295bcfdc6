"""The table of times, a CSV file: what a machine needs, for others to plan with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from activessf.errors import InputError
from activessf.manifests import read_table, write_table
from activessf.planning.times import Time

_USUAL_PRECISION = "32-true"


def write_times(times: Sequence[Time], path: Path) -> None:
    """Write rows as a CSV file."""
    write_table(pd.DataFrame([asdict(time) for time in times], columns=[field.name for field in fields(Time)]), path)


def read_times(path: Path) -> list[Time]:
    """Read rows; those that people have written need `stage`, `name` and the seconds, and of a training what it is.

    Raises:
        InputError: The file is none of these, or a value in it can't be.
    """
    frame = read_table(path, ["stage", "name"])
    known = [field.name for field in fields(Time) if field.name in frame.columns]
    return [_row(path, number, row) for number, row in enumerate(frame[known].to_dict("records"), 2)]


def _row(path: Path, line: int, values: dict[Any, Any]) -> Time:
    given = {str(name): str(value) for name, value in values.items() if str(value) not in ("", "nan")}
    row = Time(stage=given.get("stage", ""))
    for name, value in given.items():
        if isinstance(getattr(row, name), str):
            row = replace(row, **{name: value})  # type: ignore[arg-type]
            continue
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise InputError(f"{path}, line {line}: {name}={value} must be a number, 0 or more.")
        row = replace(row, **{name: type(getattr(row, name))(number)})
    training = row.stage in ("pretraining", "run")
    if not row.stage or training and not (row.backbone and row.image_size and row.batch_size and row.seconds_per_step):
        raise InputError(
            f"{path}, line {line}: stage={row.stage} needs "
            + ("backbone, image_size, batch_size and seconds_per_step." if row.stage else "a name, such as regions.")
        )
    return replace(row, precision=row.precision or _USUAL_PRECISION) if training else row
