"""The CSV and JSON files that stages exchange: their columns, how they are read, written and checked."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from activessf.errors import InputError

BOX = ("x", "y", "width", "height")
CELLS = ("image", "label", *BOX, "group", "split")
REGIONS = ("image", *BOX, "fill_rate", "area", "crop")
REJECTED = ("image", *BOX, "fill_rate", "area", "reason")
SLIDES = ("image", "width", "height", "resolution", "regions", "rejected", "specks")
FAILURES = ("image", "reason")
FOLDS = ("image", *BOX, "group", "joined_group", "label", "fold", "crop")
SELECTION = ("crop", "prototype", "distance", "threshold", "selected")
PROTOTYPES = ("prototype", "size", "lower", "upper", "threshold", "candidates", "selected", "purity")
PREDICTIONS = ("image", *BOX, "group", "fold", "label", "predicted")
PROBABILITY_PREFIX = "p_"

# Names are text even where they look like numbers ("007", "NA").
_NUMBERS = ("fill_rate", "area", "resolution", "distance", "threshold", "lower", "upper")
_TEXT_COLUMNS = (
    *("image", "label", "group", "joined_group", "split", "crop", "predicted", "reason", "class"),
    *("stage", "name", "backbone", "precision", "device", "exact"),  # of planning.table
)


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV file that must have the given columns (it may have more).

    Text columns (image, label, group, crop, predicted, reason) stay text; a missing text is the empty string.

    Raises:
        InputError: The file is missing, empty, no CSV, or lacks a column.
    """
    try:
        frame = pd.read_csv(
            path,
            encoding="utf-8-sig",
            dtype=dict.fromkeys(_TEXT_COLUMNS, str),
            keep_default_na=False,
            skipinitialspace=True,
            na_values=dict.fromkeys((*BOX, *_NUMBERS), [""]),
        )
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist.") from error
    except OSError as error:
        raise InputError(f"{path} can't be opened: {error.strerror}.") from error
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} can't be read as a CSV file with a header: {error}") from error
    if not isinstance(frame.index, pd.RangeIndex):
        # pandas takes a surplus first field for a row name.
        raise InputError(f"{path} has rows with more fields than its header has columns; quote texts with commas.")
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise InputError(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has {', '.join(map(str, frame.columns))}."
        )
    return frame


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a CSV file whole or not at all; floats in their shortest exact form."""
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")


def write_text(text: str, path: Path) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(value: Any, path: Path) -> None:
    """Write a JSON file whole or not at all."""
    write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", path)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: The file is missing or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist.") from error
    except ValueError as error:
        raise InputError(f"{path} is not a JSON file: {error}") from error


def json_if_there(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path` to write; when the block ends well it takes the place of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes files that only their owner can read; results are to be shared like any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
