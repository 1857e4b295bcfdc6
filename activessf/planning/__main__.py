"""Times of trainings on this machine, for a dry run on another: `python -m activessf.planning --output times.csv`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from activessf.errors import InputError
from activessf.exits import telling_mistakes
from activessf.planning.measured import noted_times, probed_times
from activessf.planning.table import write_times
from activessf.planning.times import Time

_OUTPUTS = Path(__file__).resolve().parents[2] / "outputs"


@telling_mistakes
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(prog="python -m activessf.planning", description=__doc__)
    parser.add_argument("outputs", type=Path, nargs="?", default=_OUTPUTS, help="the output folder of train.py")
    parser.add_argument("--output", type=Path, required=True, help="the table to write, a CSV file")
    given = parser.parse_args(arguments)
    times = collected(given.outputs.expanduser())
    if given.output.exists():
        raise InputError(f"{given.output} exists; name another file.")
    write_times(times, given.output)
    trainings = len({time.kind for time in times if time.kind})
    print(f"{len(times)} times, of {trainings} kinds of training; elsewhere: plan.measured={given.output.absolute()}")
    return 0


def collected(outputs: Path) -> list[Time]:
    """The times of all results, and of steps that dry runs have timed where no training of the kind has been.

    Raises:
        InputError: There are none.
    """
    noted = noted_times(outputs)
    trained = {(time.kind, time.device) for time in noted}
    probed = {(time.kind, time.device): time for time in probed_times(outputs)}
    times = noted + [time for about, time in probed.items() if about not in trained]
    if not times:
        raise InputError(
            f"Nothing has been timed in {outputs}; run train.py with it, or let train.py ... --dry-run time some steps."
        )
    return times


if __name__ == "__main__":
    sys.exit(main())
