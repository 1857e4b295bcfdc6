"""A stage result: keyed by what it depends on, published whole, made once, with a note of what it cost."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from activessf.artifacts.fingerprints import fingerprint, readable
from activessf.artifacts.leases import LEASE_SUFFIX, Held, clear_dead, lease
from activessf.jobs.progress import doing
from activessf.launching.meeting import agreed, wait_until, waits
from activessf.manifests import write_json
from activessf.owners import Owner, from_token, host
from activessf.provenance import now

log = logging.getLogger(__name__)

INPUTS_FILE = "inputs.json"
MADE_FILE = "made.json"
PARTIAL = ".partial-"


@dataclass
class _Making:
    """What is known of a result while it is made.

    Attributes:
        partial: The folder that is filled.
        used: Results that were asked for meanwhile, `stage/name`.
        others: Seconds spent on making, or waiting for, those.
    """

    partial: Path
    used: list[str] = field(default_factory=list)
    others: float = 0.0


_under_way: list[_Making] = []  # the innermost last: making a result asks for those that it is made from


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
        published. Of the processes of one training, process 0 works. Beside the inputs, `made.json` tells what it cost
        (`seconds`, without those of other results that were made on the way), when, on which host, and which other
        results were `used`.
        """
        if waits():
            wait_until(lambda: self.ready)
        with _noted(self.folder):
            return self._reused() if self.ready else self._made(lambda: not self.ready)

    def obtain_together(self) -> Path:
        """The folder, whole, as `obtain` gives it, but made by all processes of one training together.

        Each calls `make`; what the others than process 0 write is thrown away.
        """
        if waits():
            if agreed(lambda: True):
                with tempfile.TemporaryDirectory() as scratch:
                    self.make(Path(scratch))
            return self.obtain()
        with _noted(self.folder):
            if self.ready:
                agreed(lambda: False)
                return self._reused()
            return self._made(lambda: agreed(lambda: not self.ready))

    def _reused(self) -> Path:
        _tell_reuse(self.folder)
        with suppress(OSError):  # results may be shared read-only
            os.utime(self.folder)  # last use: what was used lately is not pruned
            clear_dead(lease_of(self.folder))
        return self.folder

    def _made(self, needed: Callable[[], bool]) -> Path:
        """The folder, made and published if it is needed by the time that nobody else makes it."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with lease(lease_of(self.folder), self._tell_waiting) as owner:
            if needed():
                self._publish(owner)
        return self.folder

    def _publish(self, owner: Owner) -> None:
        with doing(f"{self.folder.parent.name}/{self.name}"), _publishing(self.folder, owner) as partial:
            making, started = _Making(partial), time.monotonic()
            _under_way.append(making)
            try:
                self.make(partial)
            finally:
                _under_way.pop()
            write_json(dict(self.inputs), partial / INPUTS_FILE)
            seconds = time.monotonic() - started - making.others
            made = {"made": now(), "host": host(), "seconds": seconds, "used": sorted(making.used)}
            write_json(made, partial / MADE_FILE)

    def _tell_waiting(self, held: Held) -> None:
        log.info("%s is making %s; waiting for it.", str(held).capitalize(), self.folder)


def artifact(root: Path, stage: str, label: str, inputs: Mapping[str, Any], make: Callable[[Path], None]) -> Artifact:
    """The result of `stage` with these inputs, in a folder `root/stage/label-fingerprint`."""
    return Artifact(root / stage / f"{readable(label)}-{fingerprint(dict(inputs))}", inputs, make)


def lease_of(folder: Path) -> Path:
    """The file that is there while someone makes the result with this folder."""
    return folder.parent / f".{folder.name}{LEASE_SUFFIX}"


@cache
def _tell_reuse(folder: Path) -> None:
    """Say it once: a stage is asked for by every stage that depends on it, and by every job of a sweep."""
    log.info("Reusing %s", folder)


@contextmanager
def _noted(folder: Path) -> Iterator[None]:
    """Note that the result that is being made, if one is, uses this one, and how long it had to wait for it."""
    if not _under_way:
        yield
        return
    making, started = _under_way[-1], time.monotonic()
    name = f"{folder.parent.name}/{folder.name}"
    if name not in making.used:
        making.used.append(name)
        # At once, so that nobody prunes it meanwhile.
        write_json({"used": making.used}, making.partial / MADE_FILE)
    try:
        yield
    finally:
        making.others += time.monotonic() - started


@contextmanager
def _publishing(folder: Path, owner: Owner) -> Iterator[Path]:
    for leftover in leftovers(folder):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = folder.parent / f".{folder.name}{PARTIAL}{owner.token}"
    partial.mkdir()
    try:
        yield partial
        try:
            os.rename(partial, folder)
        except OSError as error:
            # We were silent for so long that another process took over, and it was faster.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)


def leftovers(folder: Path) -> list[Path]:
    """What processes that are gone have left of a result that they were making.

    A process of another machine may only seem gone: what is its own is not among them.
    """
    found = []
    for partial in folder.parent.glob(f".{folder.name}{PARTIAL}*"):
        owner = from_token(partial.name.rpartition(PARTIAL)[2])
        if owner is None or owner.is_dead:
            found.append(partial)
    return found
