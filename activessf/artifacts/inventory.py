"""Which stage results are there, what they cost, and which of them no run needs any more."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from activessf.artifacts.leases import LEASE_SUFFIX, find, lease
from activessf.artifacts.results import INPUTS_FILE, MADE_FILE, PARTIAL, lease_of, leftovers
from activessf.manifests import json_if_there

_RUN_FILE = "run.json"


@dataclass(frozen=True)
class Entry:
    """A stage result on disk.

    Attributes:
        folder: Where it is.
        size: Of its files, bytes.
        seconds: What it cost, results that it was made from left out; None if that was not noted.
        used_at: When it was last made or asked for, seconds since 1970.
        needs: Results that it was made from, `stage/name`.
        needed_by: Runs, and results that are being made, which need it, directly or not; names.
    """

    folder: Path
    size: int
    seconds: float | None
    used_at: float
    needs: frozenset[str]
    needed_by: tuple[str, ...] = ()

    @property
    def stage(self) -> str:
        """Its stage."""
        return self.folder.parent.name

    @property
    def name(self) -> str:
        """What other results call it."""
        return f"{self.stage}/{self.folder.name}"


@dataclass(frozen=True)
class Inventory:
    """All stage results of an output folder.

    Attributes:
        entries: By stage and name.
        unnoted_before: Runs that do not tell what they used were made until then, seconds since 1970; None: all tell.
    """

    entries: tuple[Entry, ...]
    unnoted_before: float | None

    def prunable(self, older_than: float) -> list[Entry]:
        """What no run needs.

        Args:
            older_than: Seconds; what was used since is kept: who made it may be about to train on it.
        """
        limit = time.time() - older_than
        return [
            entry
            for entry in self.entries
            if not entry.needed_by
            and entry.used_at <= limit
            and (self.unnoted_before is None or entry.used_at > self.unnoted_before)
        ]


def take_inventory(output_dir: Path) -> Inventory:
    """Look through `stages` and `runs` of an output folder."""
    entries = {}
    for path in sorted((output_dir / "stages").glob(f"*/*/{INPUTS_FILE}")):
        if not path.parent.name.startswith("."):
            entry = _entry(path.parent)
            entries[entry.name] = entry
    # What a result names among its inputs it needs, whether or not it has noted more.
    known_as: dict[str, set[str]] = {}
    for name, entry in entries.items():
        known_as.setdefault(entry.folder.name, set()).add(name)
    needs = {
        name: (entry.needs | _named(json_if_there(entry.folder / INPUTS_FILE), known_as)) & entries.keys()
        for name, entry in entries.items()
    }
    roots, unnoted_before = _roots(output_dir, known_as)
    needed_by: dict[str, list[str]] = {name: [] for name in entries}
    for root, used in roots.items():
        for name in _reached(used & entries.keys(), needs):
            needed_by[name].append(root)
    known = [
        replace(entry, needs=frozenset(needs[name]), needed_by=tuple(needed_by[name]))
        for name, entry in entries.items()
    ]
    return Inventory(tuple(known), unnoted_before)


def remove(entry: Entry) -> bool:
    """Remove a stage result, unless someone is making it or has used it meanwhile; returns whether it is gone.

    It vanishes at once under its name, so that nobody finds a half of it.
    """
    path = lease_of(entry.folder)
    held = find(path)
    if held is not None and not (held.owner is not None and held.owner.is_dead):
        return False
    with lease(path, lambda held: None) as owner:
        if entry.folder.is_dir() and entry.folder.stat().st_mtime > entry.used_at:
            return False  # someone has asked for it meanwhile
        aside = entry.folder.parent / f".{entry.folder.name}{PARTIAL}{owner.token}"
        try:
            os.rename(entry.folder, aside)
        except FileNotFoundError:
            return True
        shutil.rmtree(aside)
    return True


def abandoned(output_dir: Path, older_than: float) -> list[Path]:
    """What processes that were killed have left: half-made results, and lock files of earlier versions.

    Args:
        output_dir: The output folder.
        older_than: Seconds; what another machine has begun since may be still at work.
    """
    limit, found = time.time() - older_than, []
    for parent in (*output_dir.glob("stages/*"), *output_dir.glob("runs/*")):
        for partial in parent.glob(f".*{PARTIAL}*"):
            folder = parent / partial.name[1:].partition(PARTIAL)[0]
            if partial in leftovers(folder) or (find(lease_of(folder)) is None and partial.stat().st_mtime <= limit):
                found.append(partial)
        found += [path for path in parent.glob(".*.lock") if path.stat().st_size == 0]
        for path in parent.glob(f".*{LEASE_SUFFIX}*"):  # also one that was being broken
            held = find(path)
            if held is not None and held.owner is not None and held.owner.is_dead:
                found.append(path)
    return sorted(found)


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder, links not followed."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # someone may be clearing up
            total += 0 if path.is_dir() else path.lstat().st_size
    return total


def _entry(folder: Path) -> Entry:
    made = json_if_there(folder / MADE_FILE)
    seconds, used = made.get("seconds"), made.get("used")
    needs = frozenset(map(str, used)) if isinstance(used, list) else frozenset()
    return Entry(folder, folder_size(folder), seconds, folder.stat().st_mtime, needs)


def _roots(output_dir: Path, known_as: dict[str, set[str]]) -> tuple[dict[str, set[str]], float | None]:
    """What runs, and results that are being made, use; and until when there were runs that do not tell."""
    roots: dict[str, set[str]] = {}
    unnoted_before = None
    for path in sorted(output_dir.glob(f"runs/*/*/{_RUN_FILE}")):
        made, run = json_if_there(path.parent / MADE_FILE), json_if_there(path)
        used = set(map(str, made.get("used") or [])) | _named(run, known_as)
        roots[f"{path.parent.parent.name}/{path.parent.name}"] = used
        if "used" not in made:
            unnoted_before = max(unnoted_before or 0.0, path.stat().st_mtime)
    for parent in (*output_dir.glob("stages/*"), *output_dir.glob("runs/*")):
        for partial in parent.glob(f".*{PARTIAL}*"):
            folder = parent / partial.name[1:].partition(PARTIAL)[0]
            if partial not in leftovers(folder):
                used = set(map(str, json_if_there(partial / MADE_FILE).get("used") or []))
                roots[f"{parent.name}/{folder.name}, which is being made"] = used
    return roots, unnoted_before


def _named(value: Any, known_as: dict[str, set[str]]) -> set[str]:
    """The results whose folders' names stand somewhere in a JSON value."""
    return {name for text in _texts(value) for name in known_as.get(text, ())}


def _reached(names: set[str], needs: dict[str, frozenset[str]]) -> set[str]:
    reached, new = set(names), set(names)
    while new:
        new = {needed for name in new for needed in needs[name]} - reached
        reached |= new
    return reached


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
