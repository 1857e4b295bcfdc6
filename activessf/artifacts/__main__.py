"""List stage results, and remove those that no run needs: `python -m activessf.artifacts [list|prune]`."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from activessf.artifacts.inventory import Entry, Inventory, abandoned, folder_size, remove, take_inventory
from activessf.errors import InputError
from activessf.exits import telling_mistakes
from activessf.planning.plan import duration

_OUTPUTS = Path(__file__).resolve().parents[2] / "outputs"
_DAY = 86400.0
# Kept apart from results: they belong to no one of them, and whoever needs more adds to them.
_STORES = ("slides_searched", "feature_store")


@telling_mistakes
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, list or prune."""
    parser = argparse.ArgumentParser(prog="python -m activessf.artifacts", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("list", "prune"), default="list")
    parser.add_argument("--outputs", type=Path, default=_OUTPUTS, help="paths.output_dir (default: %(default)s)")
    parser.add_argument(
        "--days", type=float, default=7.0, help="prune: keep what was used within so many days (default: %(default)s)"
    )
    parser.add_argument("--yes", action="store_true", help="prune: remove, instead of telling what would be removed")
    given = parser.parse_args(arguments)
    if not (given.outputs / "stages").is_dir():
        raise InputError(f"{given.outputs} holds no stage results; name paths.output_dir by --outputs.")
    if not given.days >= 0:
        raise InputError(f"--days {given.days} must be a number, 0 or more.")
    inventory = take_inventory(given.outputs)
    if given.command == "list":
        print("\n".join(listing(inventory, given.outputs)))
    else:
        prune(inventory, given.outputs, given.days, given.yes)
    return 0


def listing(inventory: Inventory, output_dir: Path) -> list[str]:
    """Lines: every result with its size, its cost, its last use and who needs it; then sums a stage."""
    lines = [_HEADINGS, *(_line(entry) for entry in inventory.entries), ""]
    for stage in dict.fromkeys(entry.stage for entry in inventory.entries):
        of_stage = [entry for entry in inventory.entries if entry.stage == stage]
        lines.append(f"{stage}: {len(of_stage)}, {_sum(of_stage)}")
    for store in _STORES:
        if (output_dir / "stages" / store).is_dir():
            lines.append(f"{store}: {_bytes(folder_size(output_dir / 'stages' / store))}, shared by results to come")
    unneeded = [entry for entry in inventory.entries if not entry.needed_by]
    lines.append(f"No run needs {len(unneeded)} of {len(inventory.entries)}: {_sum(unneeded)}.")
    return lines


def prune(inventory: Inventory, output_dir: Path, days: float, really: bool) -> None:
    """Remove what no run needs and nobody has used for so many days, or tell what that would be."""
    entries, left = inventory.prunable(days * _DAY), abandoned(output_dir, max(days, 1) * _DAY)
    if inventory.unnoted_before is not None:
        print("Some runs of an earlier version don't tell what they used; what is no newer than they are is kept.")
    for entry in entries:
        gone = "would be removed" if not really else ("removed" if remove(entry) else "is in use; kept")
        print(f"{_line(entry)}  {gone}")
    for path in left:
        if really:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        print(f"{path}  of a process that is gone; {'removed' if really else 'would be removed'}")
    print(f"{len(entries)} of {len(inventory.entries)} results, {_sum(entries)}, and {len(left)} leftover(s).")
    if not really and (entries or left):
        print("Nothing was removed; --yes removes.")


_HEADINGS = f"{'size':>9} {'cost':>8} {'last used':<16} {'result':<60} needed by"


def _line(entry: Entry) -> str:
    cost = "?" if entry.seconds is None else duration(entry.seconds)
    used = datetime.fromtimestamp(entry.used_at).strftime("%Y-%m-%d %H:%M")
    return f"{_bytes(entry.size):>9} {cost:>8} {used} {entry.name:<60} {_needed(entry.needed_by)}"


def _needed(names: Sequence[str]) -> str:
    if len(names) <= 1:
        return names[0] if names else "no run"
    return f"{names[0]} and {len(names) - 1} more"


def _sum(entries: Sequence[Entry]) -> str:
    seconds = sum(entry.seconds or 0.0 for entry in entries)
    return f"{_bytes(sum(entry.size for entry in entries))} that took {duration(seconds)}"


def _bytes(number: int) -> str:
    size, units = float(number), iter(("B", "KiB", "MiB", "GiB"))
    unit = next(units)
    while size >= 1000 and unit != "GiB":
        size, unit = size / 1024, next(units)
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


if __name__ == "__main__":
    sys.exit(main())
