"""Names for content: equal values and equal files have equal fingerprints, on every machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

_WHOLE_BYTES = 32 << 20
_SAMPLE_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 20


def fingerprint(value: Any) -> str:
    """Sixteen hexadecimal digits that are the same for equal JSON values, on every machine.

    Mappings count as equal whatever the order of their keys; 1 and 1.0 are different values.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """Sixteen hexadecimal digits of a file's content, the same for copies on other machines.

    A file of up to 32 MiB is read whole. Slides may be gigabytes: of those the size, the beginning, the middle and the
    end tell, since compressed images that differ do so nearly everywhere.

    Raises:
        OSError: The file can't be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest.update(f"{size}\0".encode())
        length = size if size <= _WHOLE_BYTES else _SAMPLE_BYTES
        for start in sorted({0, max(0, (size - length) // 2), max(0, size - length)}):
            file.seek(start)
            digest.update(file.read(length))
    return digest.hexdigest()[:16]


def content_hash(path: Path) -> str:
    """SHA-256 of a file, which is read again only if it has changed."""
    status = path.stat()
    return _hashed(path, status.st_size, status.st_mtime_ns)


@cache  # of an unchanged file: weights are asked for their identity many times
def _hashed(path: Path, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def files_fingerprint(root: Path, names: Iterable[str]) -> str:
    """Fingerprint of files by name and content; see `file_fingerprint`. One that can't be read counts as such."""
    digest = hashlib.sha256()
    for name in sorted(set(names)):
        try:
            content = file_fingerprint(root / name)
        except OSError:
            content = "unreadable"
        digest.update(f"{name}\0{content}\0".encode())
    return digest.hexdigest()[:16]


def readable(text: str) -> str:
    """Text as it may stand in a file name: letters, digits, dot, plus and hyphen; everything else an underscore."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("_.") or "unnamed"
