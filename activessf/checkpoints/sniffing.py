"""What a file is by how it begins, whatever its name says."""

from __future__ import annotations

from pathlib import Path

from activessf.errors import InputError

_LARGEST_HEADER = 100_000_000  # bytes; safetensors itself reads no larger one. Of a text they would be far more.
_TORCH = (b"PK", b"\x80")  # a zip archive, or a pickle as torch wrote before 1.6
_SHOWN = 40  # bytes


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a header in eight bytes, and its first brace."""
    start = _start(path)
    return int.from_bytes(start[:8], "little") <= _LARGEST_HEADER and start[8:9] == b"{"


def check_torch(path: Path) -> None:
    """Refuse what torch can't have written, such as a text: unpickled, its letters would be taken for commands.

    Raises:
        InputError: How the file begins.
    """
    start = _start(path)
    if not start.startswith(_TORCH):
        found = f"begins with {start.decode('latin-1')!r}" if start else "is empty"
        raise InputError(
            f"{path} can't be read as weights: it {found}, as neither safetensors nor torch files do; check that it is "
            "the file itself, and whole."
        )


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_SHOWN)
