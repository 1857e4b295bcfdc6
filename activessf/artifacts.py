"""Stage results on disk: keyed by what they depend on, published whole, made once.

A stage result is a folder `<root>/<stage>/<label>-<key>/`. Its key is the fingerprint of everything that it depends
on, so the same inputs find the same folder, whoever asks; a folder that has its final name is complete.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from activessf.launching.meeting import agreed, wait_until, waits
from activessf.manifests import write_json

log = logging.getLogger(__name__)

INPUTS_FILE = "inputs.json"
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


@dataclass(frozen=True)
class Artifact:
    """A stage result that is on disk or can be made.

    Attributes:
        folder: Where it stands, or will stand.
        inputs: Everything that it depends on; plain JSON values. It is written into the folder as `inputs.json`.
        make: Fills the empty folder that it is given.
    """

    folder: Path
    inputs: Mapping[str, Any]
    make: Callable[[Path], None]

    @property
    def name(self) -> str:
        """Label and fingerprint: what results that depend on this one name among their inputs."""
        return self.folder.name

    @property
    def ready(self) -> bool:
        """Whether it is on disk."""
        return self.folder.is_dir()

    def obtain(self) -> Path:
        """The folder, whole: found if it is there, else made and published at once.

        Of two processes that need the same result, one works and the other waits. If `make` fails, nothing is
        published. Of the processes of one training, process 0 works.
        """
        if waits():
            wait_until(lambda: self.ready)
        if self.ready:
            _tell_reuse(self.folder)
            return self.folder
        return self._made(lambda: not self.ready)

    def obtain_together(self) -> Path:
        """The folder, whole, as `obtain` gives it, but made by all processes of one training together.

        Each calls `make`; what the others than process 0 write is thrown away.
        """
        if waits():
            if agreed(lambda: True):
                with tempfile.TemporaryDirectory() as scratch:
                    self.make(Path(scratch))
            return self.obtain()
        if self.ready:
            agreed(lambda: False)
            return self.obtain()
        return self._made(lambda: agreed(lambda: not self.ready))

    def _made(self, needed: Callable[[], bool]) -> Path:
        """The folder, made and published if it is needed by the time that nobody else makes it."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(self.folder):
            if needed():
                with _publishing(self.folder) as partial:
                    self.make(partial)
                    write_json(dict(self.inputs), partial / INPUTS_FILE)
        return self.folder


@cache
def _tell_reuse(folder: Path) -> None:
    """Say it once: a stage is asked for by every stage that depends on it, and by every job of a sweep."""
    log.info("Reusing %s", folder)


def artifact(root: Path, stage: str, label: str, inputs: Mapping[str, Any], make: Callable[[Path], None]) -> Artifact:
    """The result of `stage` with these inputs, in a folder `root/stage/label-fingerprint`."""
    return Artifact(root / stage / f"{readable(label)}-{fingerprint(dict(inputs))}", inputs, make)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    # The lock belongs to the open file and ends with its process, so a killed holder leaves none behind.
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("Another process is making %s; waiting for it.", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _publishing(folder: Path) -> Iterator[Path]:
    for leftover in folder.parent.glob(f".{folder.name}.partial-*"):
        shutil.rmtree(leftover)  # of a process that was killed; we hold the lock
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.partial-"))
    try:
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o777 & ~umask)
        os.rename(partial, folder)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
