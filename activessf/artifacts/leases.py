"""Of several processes, on one machine or many, one works and the others wait, whatever becomes of it.

A lease is a file that only one process can create (O_EXCL, which network file systems keep to as well; locks of the
kernel they do not all pass on). Its holder touches the file every few seconds. A holder of this machine that is gone is
found out at once by its process, one of another machine by its silence. Clocks of machines are not compared.

The file system can't rule out that a holder that was silent for long (a frozen machine) wakes up while another works.
What is guarded must bear that: `Artifact` publishes by renaming, so that such a pair costs time and nothing else.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from activessf.owners import Owner, from_token, host, new_owner

LEASE_SUFFIX = ".lease"

BEAT_SECONDS = 10.0
SILENT_SECONDS = 180.0  # network file systems may keep what they know of a file for a minute
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Held:
    """A lease file as it was found.

    Attributes:
        owner: Its holder; None if the file does not say (it was being written).
        host: Name of the holder's machine, "" if the file does not say.
        touched: When its holder last touched it, ns, by the file system's clock.
    """

    owner: Owner | None
    host: str
    touched: int

    def __str__(self) -> str:
        """The holder as people are told of it."""
        return "a process" if self.owner is None else f"process {self.owner.pid} on {self.host}"


def find(path: Path) -> Held | None:
    """Who holds a lease; None if nobody does."""
    try:
        # Opened, since a network file system looks anew at a file that is opened, and at others not.
        with path.open("rb") as file:
            text, touched = file.read(), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    try:
        said = json.loads(text)
        return Held(from_token(str(said["owner"])), str(said["host"]), touched)
    except (ValueError, KeyError, TypeError):
        return Held(None, "", touched)


@contextmanager
def lease(
    path: Path, waiting: Callable[[Held], None], beat: float = BEAT_SECONDS, silent: float = SILENT_SECONDS
) -> Iterator[Owner]:
    """Hold a lease, as soon as nobody else does.

    Args:
        path: The lease's file, in an existing folder; it is there while the lease is held.
        waiting: Told once who has it, if someone has.
        beat: Seconds between signs of life.
        silent: Seconds without one after which a holder of another machine counts as dead.

    Yields:
        The holder, this process.
    """
    owner = new_owner()
    _wait(path, owner, waiting, silent)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, owner, beat, ended), daemon=True)
    beating.start()
    try:
        yield owner
    finally:
        ended.set()
        beating.join(beat)
        if _is_held_by(path, owner):
            path.unlink(missing_ok=True)


def clear_dead(path: Path) -> None:
    """Remove the lease of a holder that was killed when its work was done: nobody will ask for it again."""
    held = find(path)
    if held is not None and held.owner is not None and held.owner.is_dead:
        _break(path, held)


def _wait(path: Path, owner: Owner, waiting: Callable[[Held], None], silent: float) -> None:
    told, touched, silence, looked = False, None, 0.0, time.monotonic()
    while not _take(path, owner):
        held = find(path)
        if held is None:
            continue
        if not told and not (held.owner is not None and held.owner.is_dead):
            waiting(held)
            told = True
        # Not the time since the last sign: while a machine sleeps or a server is away, nobody can give one.
        now = time.monotonic()
        silence = silence + min(now - looked, 2 * _POLL_SECONDS) if held.touched == touched else 0.0
        touched, looked = held.touched, now
        if (held.owner is not None and held.owner.is_dead) or silence >= silent:
            _break(path, held)
            touched = None
        else:
            time.sleep(_POLL_SECONDS)


def _take(path: Path, owner: Owner) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        json.dump({"owner": owner.token, "host": host()}, file)
        file.flush()
        os.fsync(file.fileno())
    return True


def _break(path: Path, held: Held) -> None:
    """Remove a dead holder's file, and no other that has taken its place since."""
    now = find(path)
    if now is None or now.owner != held.owner:
        return
    aside = path.with_name(f"{path.name}.{new_owner().nonce}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    moved = find(aside)
    if moved is not None and moved.owner != held.owner:
        with suppress(OSError):
            os.link(aside, path)  # it was a living holder's after all
    aside.unlink(missing_ok=True)


def _beat(path: Path, owner: Owner, seconds: float, ended: threading.Event) -> None:
    while not ended.wait(seconds):
        with suppress(OSError):  # a server that is away comes back
            if _is_held_by(path, owner):
                os.utime(path)


def _is_held_by(path: Path, owner: Owner) -> bool:
    held = find(path)
    return held is not None and held.owner == owner
