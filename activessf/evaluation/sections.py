"""Which runs may stand in one table: those of the same data, recipe and seed."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from activessf.evaluation.runs import Run, in_table_order, with_unique_titles

# How tables mark classes says nothing about the cells that runs were measured on.
_MARKS_ONLY = ("data.rare", "data.common")


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
    """One section for each data set (option and `data.*` settings), recipe and seed, sorted by these."""
    groups: dict[tuple[str, str, int, str], list[Run]] = defaultdict(list)
    for run in runs:
        settings = {key: value for key, value in run.settings.items() if _tells_data_apart(key)}
        fingerprint = json.dumps(settings, sort_keys=True, default=str)
        groups[(_option(run, "data"), _option(run, "recipe"), run.seed, fingerprint)].append(run)
    sections = []
    for (data, recipe, seed, _), members in sorted(groups.items()):
        title = f"{data}, recipe {recipe}, seed {seed}"
        name = file_name(f"{data}-{recipe}-seed{seed}")
        sections.append(Section(name, title, tuple(in_table_order(with_unique_titles(members)))))
    return _told_apart(sections)


def file_name(text: str) -> str:
    """The text as part of a file name: letters, digits, dot, dash and underscore, no leading dot."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".") or "_"


def _option(run: Run, group: str) -> str:
    return run.choices.get(group, "unknown")


def _tells_data_apart(key: str) -> bool:
    return key.startswith("data.") and not key.startswith(_MARKS_ONLY)


def _told_apart(sections: Sequence[Section]) -> list[Section]:
    """Sections of equal titles with the `data.*` settings that differ, those of equal names with a number."""
    titles, names = Counter(section.title for section in sections), Counter[str]()
    distinct = []
    for section in sections:
        names[section.name] += 1
        name = section.name if names[section.name] == 1 else f"{section.name}-{names[section.name]}"
        title = section.title
        if titles[title] > 1:
            equal = [other.runs[0].settings for other in sections if other.title == title]
            settings = section.runs[0].settings
            keys = [k for k in settings if _tells_data_apart(k) and any(settings[k] != o.get(k) for o in equal)]
            title = ", ".join([title, *(f"{key}={settings[key]}" for key in keys)])
        distinct.append(replace(section, name=name, title=title))
    return distinct
