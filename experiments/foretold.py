"""Is a sweep as long as its dry run said, and what does it cost besides its pieces?

    python experiments/foretold.py --output /tmp/foretold recipe=quick logger=csv experiment/row=vit,mae,mae_activessf

Runs fold 0 of the settings, from which times are known; asks for the duration of all five folds; runs these. It prints
both, and the seconds of the sweep that no piece accounts for. On a machine that nothing else uses, the first two are to
differ by less than a fifth, and the last to be below a twentieth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from activessf.planning.plan import read_plans
from activessf.planning.schedule import total_seconds

_ROOT = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, ask, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="an empty folder for all results")
    parser.add_argument("overrides", nargs="*", help="what train.py is to be given; a sweep too")
    given = parser.parse_args(arguments)
    train(given.output, *given.overrides, "fold=0")
    train(given.output, *given.overrides, "fold=0..4", "--dry-run")
    sweep = max((given.output / "jobs").iterdir(), key=lambda path: path.stat().st_mtime)
    plans = read_plans(sorted(path.parent for path in sweep.glob("*/plan.json")))
    expected = total_seconds([[piece.cost for piece in plan.pieces] for plan in plans])
    before = noted(given.output)
    taken = train(given.output, *given.overrides, "fold=0..4")
    pieces = sum(seconds for path, seconds in noted(given.output).items() if path not in before)
    print(f"foretold {expected:.0f} s, taken {taken:.0f} s: {expected / taken - 1:+.0%}")
    print(f"its pieces {pieces:.0f} s; besides them {taken - pieces:.0f} s, {(taken - pieces) / taken:.1%}")


def train(output: Path, *overrides: str) -> float:
    """Seconds of a sweep."""
    started = time.monotonic()
    command = [sys.executable, str(_ROOT / "train.py"), *overrides, f"paths.output_dir={output}", "-m"]
    subprocess.run(command, check=True)
    return time.monotonic() - started


def noted(output: Path) -> dict[Path, float]:
    """Seconds of every result that is there, by the file that notes them."""
    paths = [*output.glob("stages/*/[!.]*/made.json"), *output.glob("runs/*/[!.]*/made.json")]
    return {path: float(json.loads(path.read_text())["seconds"]) for path in paths}


if __name__ == "__main__":
    main()
