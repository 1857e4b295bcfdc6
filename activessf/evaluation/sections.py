"""Which runs may stand in one table: those of the same data, recipe and seed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from activessf.evaluation.comparisons import cells_of
from activessf.evaluation.runs import Run, in_table_order, with_unique_titles
from activessf.evaluation.unfinished import Unfinished


@dataclass(frozen=True)
class Section:
    """Runs that are comparable, in the order of tables, with unique titles.

    Attributes:
        name: Name of the section's folder, safe in a path and unique in a report.
        title: Heading, such as "demo, recipe quick, seed 0".
        runs: The runs.
    """

    name: str
    title: str
    runs: tuple[Run, ...]


def split_into_sections(runs: Sequence[Run]) -> list[Section]:
    """One section for each data set, recipe and seed, sorted by these.

    Runs whose folds of one number hold other test cells are on other data (data=folder with another root, say) or
    other folds, whatever their options are called: they get sections of their own, numbered.
    """
    groups: dict[tuple[str, str, int], list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.name):
        groups[(_option(run, "data"), _option(run, "recipe"), run.seed)].append(run)
    sections, names = [], Counter[str]()
    for (data, recipe, seed), members in sorted(groups.items()):
        for number, same_cells in enumerate(_by_test_cells(members), start=1):
            title = f"{data}, recipe {recipe}, seed {seed}"
            title = title if number == 1 else f"{title} ({number}, other test cells)"
            name = file_name(f"{data}-{recipe}-seed{seed}")
            names[name] += 1
            name = name if names[name] == 1 else f"{name}-{names[name]}"
            sections.append(Section(name, title, tuple(in_table_order(with_unique_titles(same_cells)))))
    return sections


def note_on_lacking_runs(section: Section, begun: Sequence[Unfinished]) -> list[str]:
    """The runs that by their name (data-recipe-...) belong into a section, and have no finished fold.

    Args:
        section: The section.
        begun: Folds without a result, of runs without any.
    """
    first = section.runs[0]
    beginning = file_name(f"{_option(first, 'data')}-{_option(first, 'recipe')}-")
    lacking = [f"{item.run} (fold {item.fold} {item.state})" for item in begun if item.run.startswith(beginning)]
    return [f"Not in the tables, since no fold of it is finished: {'; '.join(lacking)}."] if lacking else []


def file_name(text: str) -> str:
    """The text as part of a file name: letters, digits, dot, dash and underscore, no leading dot."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".") or "_"


def _option(run: Run, group: str) -> str:
    return run.choices.get(group) or str(run.settings.get(f"{group}.name", "unknown"))


def _by_test_cells(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in parts, in each of which a fold number means the same test cells."""
    parts: list[tuple[dict[int, Any], list[Run]]] = []
    for run in runs:
        cells: dict[int, Any] = {fold: cells_of(result.predictions) for fold, result in run.folds.items()}
        for known, members in parts:
            as_many = members[0].settings.get("data.num_folds") == run.settings.get("data.num_folds")
            if as_many and all(known.get(fold, cells[fold]) == cells[fold] for fold in cells):
                known.update(cells)
                members.append(run)
                break
        else:
            parts.append((cells, [run]))
    return [members for _, members in parts]
