"""The page on which a lab judges a selection: totals, truth, mix, map, and every prototype with its candidates.

Its size follows from what it samples and lists, not from the number of candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from activessf import __version__
from activessf.errors import InputError
from activessf.manifests import write_json, write_table, write_text
from activessf.regions.quality.charts import Chart, histogram
from activessf.selection.audit.decided import Decided
from activessf.selection.audit.figures import draw_map
from activessf.selection.audit.findings import findings
from activessf.selection.audit.sheets import SHEETS, draw_sheets
from activessf.selection.audit.tables import mix_table, summary, truth_table
from activessf.templates import templates

# Raised when the audit changes for the same selection.
VERSION = 2

PAGE = "index.html"
SUMMARY_FILE = "summary.json"
TRUTH_FILE, PLANTED_FILE, MIX_FILE, PROTOTYPES_FILE = "truth.csv", "planted.csv", "mix.csv", "prototypes.csv"
_MAP_FILE = "map.png"
_MOST_PROTOTYPES = 40  # drawn; all stand in the table's file


def write_tables(decided: Decided, planted: pd.DataFrame | None, facts: Mapping[str, Any], output: Path) -> None:
    """Write the tables of an audit: seconds, so that every selection of a sweep can have them.

    `mix.csv`, `truth.csv`, `prototypes.csv`, `planted.csv` where there was a planted check, and `summary.json`: the
    facts, the classes, and the figures of `tables.summary`.

    Args:
        decided: The decision.
        planted: What `planted_check` gave.
        facts: What was audited: `data`, `selection` (names), `folder` (the result's), `fold` (None: all), `seed`,
            `strategy` (its settings), `planted` (as what cells were planted: `regions`, `boxes`; None: not),
            `test_cells` (how many the fold has; None: no fold), and `among` (what selections must share to be compared:
            `regions`, `folds`, ..., and `features`, None where it does not look at them).
        output: An existing folder.
    """
    truth = truth_table(decided)
    write_table(mix_table(decided), output / MIX_FILE)
    write_table(truth, output / TRUTH_FILE)
    named = pd.DataFrame(decided.composition, columns=decided.classes)
    write_table(pd.concat([decided.prototypes, named], axis=1), output / PROTOTYPES_FILE)
    if planted is not None:
        write_table(planted, output / PLANTED_FILE)
    known = {"classes": decided.classes, "rare": decided.rare, **summary(decided, truth, planted)}
    write_json({**facts, **known}, output / SUMMARY_FILE)


def write_page(
    decided: Decided,
    labels: Sequence[str],
    planted: pd.DataFrame | None,
    places: pd.DataFrame,
    facts: Mapping[str, Any],
    regions_folder: Path,
    output: Path,
    num_crops: int = 48,
) -> Path:
    """Write the page `index.html`, and its pictures beside it. The same arguments give the same page.

    Args:
        decided: The decision.
        labels: Classes of the labeled cells, in the order of their features.
        planted: What `planted_check` gave.
        places: What `projection.project` gave; without rows there is no map.
        facts: See `write_tables`.
        regions_folder: Folder that the crops' paths are relative to.
        output: An existing folder.
        num_crops: Crops on a prototype's sheet, at least 2.

    Returns:
        The page.

    Raises:
        InputError: The number of crops is too small.
    """
    if num_crops < 2:
        raise InputError(f"A contact sheet can't have {num_crops} crops; give at least 2.")
    drawn = decided.prototypes.sort_values("size", ascending=False, kind="stable").head(_MOST_PROTOTYPES)
    sheets = draw_sheets(decided, drawn, regions_folder, output, num_crops)
    if len(places):
        draw_map(decided, labels, places, output / _MAP_FILE)
    truth, mix = truth_table(decided), mix_table(decided)
    page = output / PAGE
    text = environment().get_template("page.html.jinja").render(
        facts=facts,
        settings=flat(facts.get("strategy", {})),
        version=__version__,
        totals=summary(decided, truth, planted),
        findings=findings(decided, mix, truth, planted),
        truth=truth.to_dict("records"),
        mix=mix.to_dict("records"),
        planted=None if planted is None else planted.to_dict("records"),
        prototypes=[
            {**row, **sheets.get(row["prototype"], {}), "members": _members(decided, at), "chart": _chart(decided, row)}
            for at, row in zip(drawn.index, drawn.to_dict("records"), strict=True)
        ],
        num_prototypes=len(decided.prototypes),
        map_file=_MAP_FILE if len(places) else None,
        mapped=len(places),
        files={"sheets": SHEETS, "prototypes": PROTOTYPES_FILE, "mix": MIX_FILE, "truth": TRUTH_FILE},
    )  # fmt: skip
    write_text(text, page)
    return page


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level of dotted names."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        result.update(flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return result


def environment() -> jinja2.Environment:
    """The templates of this folder."""
    environment = templates(Path(__file__).parent)
    environment.filters["percent"] = lambda value: "-" if pd.isna(value) else f"{100 * value:.1f}"
    environment.filters["short"] = lambda value: "-" if pd.isna(value) else f"{value:.4g}"
    return environment


def _members(decided: Decided, place: int) -> list[tuple[str, int]]:
    """Classes of a prototype's labeled members, the commonest first."""
    counts = zip(decided.classes, decided.composition[place].tolist(), strict=True)
    return sorted(((name, count) for name, count in counts if count), key=lambda item: -item[1])


def _chart(decided: Decided, row: Mapping[str, Any]) -> Chart:
    own = decided.candidates["prototype"].to_numpy(int) == row["prototype"]
    distance, kept = decided.candidates["distance"][own], decided.kept[own]
    bounds = [("LB", row["lower"]), ("threshold", row["threshold"]), ("UB", row["upper"])]
    usual = float(distance.quantile(0.995)) if own.any() else 0.0
    greatest = max(usual, *(value for _, value in bounds), np.finfo(np.float32).eps) * 1.02
    chart = histogram("Distance", distance[kept], distance[~kept], bounds, 0.0, greatest)
    beyond = int((distance > chart.edges[-1]).sum())
    return chart._replace(note=f"The last bar holds {beyond:,} farther than {chart.edges[-1]:g}." if beyond else "")
