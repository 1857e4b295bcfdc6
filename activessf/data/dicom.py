"""DICOM series: the files of one slide, each of which opens all of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

DICOM_SUFFIX = ".dcm"

# StudyInstanceUID (0020,000D) and SeriesInstanceUID (0020,000E) with their types, as little-endian files with explicit
# types have them: those of slides. Where the file names other series it does so without a study just before.
_STUDY, _SERIES = b"\x20\x00\x0d\x00UI", b"\x20\x00\x0e\x00UI"
_HEADER = 64 * 1024  # bytes; the element comes long before the pixels


def one_file_a_series(paths: Iterable[Path]) -> list[Path]:
    """The first file of every DICOM series in a folder; all files that are not DICOM.

    A whole slide in DICOM is a series of files in one folder, one or more a level, and OpenSlide finds the others from
    any of them.

    Args:
        paths: Files; they are taken in sorted order.
    """
    kept, seen = [], set()
    for path in sorted(paths):
        series = _series(path) if path.suffix.lower() == DICOM_SUFFIX else None
        if series is not None:
            if (path.parent, series) in seen:
                continue
            seen.add((path.parent, series))
        kept.append(path)
    return kept


def files_of_series(path: Path) -> list[Path]:
    """All files of a file's series, itself included; itself alone where it names none."""
    series = _series(path)
    if series is None:
        return [path]
    return [other for other in sorted(path.parent.glob("*.[dD][cC][mM]")) if _series(other) == series]


@cache  # a folder may hold thousands of files, and each of them is asked for all
def _series(path: Path) -> bytes | None:
    """The identifier of a file's series; None where there is none."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
    except OSError:
        return None  # whoever opens it says what is wrong with it
    start = header.find(_STUDY)
    while start >= 0:
        rest = _after(header[start + len(_STUDY) :])
        if rest.startswith(_SERIES):
            rest = rest[len(_SERIES) :]
            return rest[2 : 2 + int.from_bytes(rest[:2], "little")].rstrip(b"\0 ") or None
        start = header.find(_STUDY, start + 1)
    return None


def _after(value: bytes) -> bytes:
    """What follows a value that begins with its length."""
    return value[2 + int.from_bytes(value[:2], "little") :]
