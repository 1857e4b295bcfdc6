"""What every selection keeps, and of which subtypes: mean and sample standard deviation over the folds.

    python select.py recipe=quick selection=activessf,random,... fold=0..4 audit.page=false -m
    python experiments/selection_table.py --data demo

From the audits that select.py leaves behind, so nothing is computed again. Rows are selections with those of their
settings that vary; columns are the number kept, recall of the rare subtypes (of all candidates with a known class; of
those that don't show a cell from which prototypes were made; of planted cells of the held-out fold), purity, the
share of what is kept that is of no class (as far as labels tell), and of each subtype how many candidates are kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from activessf.evaluation.formatting import format_table, markdown_table, markdown_text
from activessf.evaluation.statistics import mean_and_deviation
from activessf.exits import telling_mistakes
from activessf.manifests import write_table, write_text
from activessf.selection.audit.sweep import Sweep, read_sweeps

OUTPUTS = Path(__file__).resolve().parents[1] / "outputs"
COLUMNS = {
    "kept": "Kept",
    "rare_recall": "Rare recall, %",
    "rare_new_recall": "Unseen, %",
    "rare_planted_recall": "Planted, %",
    "purity": "Purity, %",
    "strangers": "Of no class, %",
}


@telling_mistakes
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of each set of comparable selections; 2 is a user's mistake."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=OUTPUTS, help="paths.output_dir of select.py (%(default)s)")
    parser.add_argument("--data", help="only selections on this data, as in data=NAME (default: all)")
    parser.add_argument("--alpha", type=float, help="only selections with this alpha, and those without (default: all)")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="DIR",
        help="write DIR/<data>.csv and .md too; with a fingerprint behind <data> where there are several tables of it",
    )
    options = parser.parse_args(arguments)
    sweeps = read_sweeps(options.output / "stages" / "audits", options.data)
    names = file_names(sweeps)
    for sweep in sweeps:
        values, text = tables(sweep, options.alpha)
        print(f"{sweep.title}\nrare: {', '.join(sweep.rare) or 'none'}\n{format_table(text)}\n")
        if options.write is not None:
            write_table(values, options.write / f"{names[sweep.name]}.csv")
            heading = f"## {markdown_text(sweep.title)}\n\nRare: {markdown_text(', '.join(sweep.rare) or 'none')}.\n\n"
            write_text(heading + markdown_table(text), options.write / f"{names[sweep.name]}.md")
    return 0


def file_names(sweeps: Sequence[Sweep]) -> dict[str, str]:
    """File name of each sweep, by its name: its data, if no other is of the same."""
    data = {sweep.name: str(sweep.rows["data"].iloc[0]) for sweep in sweeps}
    return {name: own if list(data.values()).count(own) == 1 else name for name, own in data.items()}


def tables(sweep: Sweep, alpha: float | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table as numbers (shares in 0-1), and as people read it (shares in percent)."""
    rows = sweep.rows if alpha is None else sweep.rows[sweep.rows["alpha"].isna() | (sweep.rows["alpha"] == alpha)]
    ordered = [*sweep.rare, *(name for name in sweep.classes if name not in sweep.rare)]
    columns = COLUMNS | {f"kept/{name}": f"{name} (rare)" if name in sweep.rare else name for name in ordered}
    values, text = [], []
    for (series, own_alpha), part in rows.groupby(["series", "alpha"], dropna=False, sort=True):
        name = series if pd.isna(own_alpha) else f"{series} alpha={own_alpha:g}"
        spreads = {column: mean_and_deviation(part[column].dropna().astype(float).tolist()) for column in columns}
        numbers = {
            f"{column}{end}": value
            for column, pair in spreads.items()
            for end, value in zip(("", "_sd"), pair, strict=True)
        }
        values.append({"selection": name, "folds": part["fold"].nunique(), **numbers})
        cells = {title: spelled(*spreads[column], not column.startswith("kept")) for column, title in columns.items()}
        text.append({"Selection": name, "Folds": str(part["fold"].nunique()), **cells})
    return pd.DataFrame(values), pd.DataFrame(text)


def spelled(mean: float, deviation: float, percent: bool) -> str:
    """Mean and standard deviation with one decimal."""
    factor = 100 if percent else 1
    if pd.isna(mean):
        return "-"
    spread = "" if pd.isna(deviation) else f" \N{PLUS-MINUS SIGN} {factor * deviation:.1f}"
    return f"{factor * mean:.1f}{spread}"


if __name__ == "__main__":
    sys.exit(main())
