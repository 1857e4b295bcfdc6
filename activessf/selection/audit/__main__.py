"""Set selections side by side: `python -m activessf.selection.audit`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from activessf.evaluation.formatting import format_table
from activessf.exits import telling_mistakes
from activessf.selection.audit.curves import as_text, write_sweeps
from activessf.selection.audit.sweep import means, read_sweeps

_OUTPUTS = Path(__file__).resolve().parents[3] / "outputs"


@telling_mistakes
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, write the summary, print the tables; 2 is a user's mistake."""
    options = _parser().parse_args(arguments)
    report = options.report or options.output / "selection_sweeps"
    sweeps = read_sweeps(options.output / "stages" / "audits", options.data, options.folds)
    page = write_sweeps(sweeps, report)
    lines = [text for sweep in sweeps for text in (sweep.title, format_table(as_text(means(sweep))), "")]
    # A terminal that can't show a plus-minus sign gets a question mark, not a traceback.
    encoding = sys.stdout.encoding or "utf-8"
    print("\n".join([*lines, f"Summary: {page}"]).encode(encoding, errors="replace").decode(encoding))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m activessf.selection.audit",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""Set all audited selections side by side: tables (CSV), a figure (PNG) and a page (index.html) of
what is kept, how much of the rare classes, and how purely, against alpha and against the thresholds.
Nothing is trained; every select.py leaves an audit behind. For example:

  python select.py selection.alpha=0,0.25,0.5,1,2,4 selection.bounds=cluster,quantile audit.page=false -m
  python select.py selection=random,nearest fold=0..4 audit.page=false -m
  python -m activessf.selection.audit --data demo

Only selections of the same data, regions, folds, features and seed are set in one table. Rows are a selection
with those of its settings that vary; figures are means over folds. What to look at first: the recall of planted
cells of the rare classes, which no prototype was made from, at an equal number of kept regions.""",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=_OUTPUTS,
        metavar="DIR",
        help="paths.output_dir of select.py (default: %(default)s)",
    )
    parser.add_argument("--data", metavar="NAME", help="only selections on this data, as in data=NAME (default: all)")
    parser.add_argument(
        "--folds", type=int, nargs="+", metavar="N", help="only selections of these folds (default: all there are)"
    )
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="where to write (default: selection_sweeps below --output)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
