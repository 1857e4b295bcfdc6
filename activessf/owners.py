"""Which process something belongs to, and whether that process is still there."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TOKEN = re.compile(r"([0-9a-f]{12})-([0-9]+)-([0-9]+)-([0-9a-f]{8})")
_STATE, _STARTED = 0, 19  # places in /proc/PID/stat after the name, see proc(5): fields 3 and 22


@dataclass(frozen=True)
class Owner:
    """A process, so named that it is not taken for another one.

    Attributes:
        place: Stands for a machine since its last start and, in containers, for the numbering of processes there.
        pid: Number of the process.
        started: When it was started, in ticks since the machine's start; 0 where that can't be known.
        nonce: Eight hexadecimal digits of chance: what one process owns twice has two owners.
    """

    place: str
    pid: int
    started: int
    nonce: str

    @property
    def token(self) -> str:
        """One word that `from_token` reads back; fit for file names."""
        return f"{self.place}-{self.pid}-{self.started}-{self.nonce}"

    @property
    def is_here(self) -> bool:
        """Whether it belongs to this machine, so that `is_dead` can tell."""
        return self.place == _place()

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be gone: a process of this machine that is not there any more."""
        return self.is_here and _start_of(self.pid) not in (self.started, None)


def new_owner() -> Owner:
    """This process, with a nonce of its own."""
    return Owner(_place(), os.getpid(), _start_of(os.getpid()) or 0, secrets.token_hex(4))


def from_token(token: str) -> Owner | None:
    """The owner that a token names; None for any other text."""
    match = _TOKEN.fullmatch(token)
    return None if match is None else Owner(match[1], int(match[2]), int(match[3]), match[4])


def host() -> str:
    """This machine's name."""
    return socket.gethostname()


@cache
def _place() -> str:
    # Host names repeat among containers and survive a restart; process numbers mean nothing beyond either.
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        pass  # no Linux
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _start_of(pid: int) -> int | None:
    """Start of a process of this machine in ticks, -1 if there is none; None where nobody can tell."""
    try:
        # The name, in parentheses, may hold blanks and parentheses of its own.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return -1 if fields[_STATE] == "Z" else int(fields[_STARTED])
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return -1
    except (OSError, ValueError, IndexError):
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return -1
    except OSError:
        return None
    return None
