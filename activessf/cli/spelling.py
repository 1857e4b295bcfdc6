"""How a command line may be spelled, and what Hydra reads in its place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from activessf.cli.flags import is_sweep, split_flags
from activessf.configuration import CONF
from activessf.errors import InputError

GROUP_ALIASES = {"ssl": "ssl_method"}
# Dotted keys that are also config groups: a value that is a name means an option of the group.
_DOTTED_GROUPS = {"selection.features": "selection/features"}

_OVERRIDE = re.compile(r"(?P<prefix>~|\+{0,2})(?P<key>[^\s~+=@]+)(?P<package>@[^=]*)?(?:=(?P<value>.*))?", re.S)
_COMMA_OUTSIDE_PARENTHESES = re.compile(r",(?![^(]*\))")
_SPAN = re.compile(r"([0-9]+)\.\.([0-9]+)")
_RANGE = re.compile(r"range\(\s*(?:([0-9]+)\s*,\s*)?([0-9]+)\s*(?:,\s*([1-9][0-9]*)\s*)?\)")
_NUMBER = re.compile(r"[0-9]+|'[0-9]+'|\"[0-9]+\"")
_ONE_VALUE = re.compile(r"[^\s,()\[\]{}]+")
_NAME = re.compile(r"(?!(?:null|true|false)$)[A-Za-z][\w-]*", re.I)
_LONGEST_SWEEP = 10_000


def canonical(overrides: Sequence[str], conf: Path = CONF) -> list[str]:
    """Rewrite a command line as people type it into one that Hydra reads the same way.

    - `ssl=mae` becomes `ssl_method=mae`, and so for the keys in it (`ssl.layer_decay=1`).
    - `selection.features=NAME` becomes `selection/features=NAME`, for a comma list of names too, known or not (so that
      Hydra answers a misspelt one with the options); null, dictionaries, paths and the like stay a plain key's value.
    - In a group whose options are all numbers (`fold`) a number becomes a quoted string, since Hydra takes only
      strings for groups: `fold=2` becomes `fold='2'`; `fold=0,2`, `fold=0..4`, `fold=4..0`, `fold=range(0,5)` and
      mixtures become lists of quoted numbers.
    - For every other key outside `hydra.`, a value that is a comma list of whole numbers with at least one
      range `a..b` becomes the plain list: `seed=0..2` becomes `seed=0,1,2`. Quoted, it stays a text.
    - In a sweep over the options of a group, a key below that group becomes a sweep over its one value:
      `selection=random,nearest selection.budget=500 -m` has `selection.budget=choice(500)`. Hydra would else look for
      the key in the group's default option and refuse it.
    - A value `~/...` has the home folder put in: shells do that only at the beginning of a word.
    - Flags such as -m and `--cfg job` move to the front with their values: argparse refuses those that stand
      between overrides.
    - `--dry-run` becomes `dry_run=true`.

    A range includes both ends and may run downwards. The prefixes `+`, `++`, `~` and a package (`ssl@other=mae`) are
    kept, everything else is returned as it came, and a result given again comes back unchanged.

    Args:
        overrides: Arguments after the script's name.
        conf: Folder of the configuration, whose sub-folders are the groups.

    Returns:
        Flags, then overrides, each in the order given.

    Raises:
        InputError: A range has more than 10,000 members.
    """
    flags, rest = split_flags(overrides)
    rest = [_canonical_override(override, conf) for override in rest]
    if is_sweep(flags, rest):
        rest = _with_swept_groups(rest, conf)
    return flags + rest


def _canonical_override(override: str, conf: Path) -> str:
    match = _OVERRIDE.fullmatch(override)
    if match is None or (match["value"] is None and match["prefix"] != "~"):
        return override
    value: str | None = match["value"]
    key = _group_of(match["key"], value, conf)
    if value is not None and not key.startswith("hydra."):
        value = _canonical_value(key, value, conf)
    if value is not None and value.startswith("~/"):
        value = os.path.expanduser(value)
    return f"{match['prefix']}{key}{match['package'] or ''}" + ("" if value is None else f"={value}")


def _with_swept_groups(overrides: list[str], conf: Path) -> list[str]:
    """Keys below a group that is swept become sweeps themselves."""
    parted = [override.partition("=") for override in overrides]
    swept = {
        key for key, _, value in parted if _COMMA_OUTSIDE_PARENTHESES.search(value) and _options(key, conf)
    }  # fmt: skip
    return [
        f"{key}=choice({value})" if key.split(".")[0] in swept and "." in key and _ONE_VALUE.fullmatch(value) else whole
        for whole, (key, _, value) in zip(overrides, parted, strict=True)
    ]


def _group_of(key: str, value: str | None, conf: Path) -> str:
    group = _DOTTED_GROUPS.get(key)
    if group is not None:
        named = value is None or all(_NAME.fullmatch(name.strip()) for name in value.split(","))
        return group if named and _options(group, conf) else key
    first, dot, others = key.partition(".")
    return GROUP_ALIASES.get(first, first) + dot + others


def _canonical_value(key: str, value: str, conf: Path) -> str:
    numeric = _is_numeric(key, conf)
    if not numeric and not _SPAN.search(value):
        return value
    numbers = _numbers(value)
    if not numbers:
        return value
    if numeric:
        numbers = [f"'{number}'" if number.isdigit() else number for number in numbers]
    return ",".join(numbers)


def _numbers(value: str) -> list[str] | None:
    """Expand `0,2..4,range(6,9)` to its numbers, quoted ones as they came; None for anything else."""
    numbers: list[str] = []
    for item in map(str.strip, _COMMA_OUTSIDE_PARENTHESES.split(value)):
        if _NUMBER.fullmatch(item):
            numbers.append(item)
        elif match := _SPAN.fullmatch(item):
            first, last = int(match[1]), int(match[2])
            step = 1 if first <= last else -1
            numbers += _listed(range(first, last + step, step), item)
        elif match := _RANGE.fullmatch(item):
            numbers += _listed(range(int(match[1] or 0), int(match[2]), int(match[3] or 1)), item)
        else:
            return None
    return numbers


def _listed(numbers: range, text: str) -> Iterable[str]:
    if len(numbers) > _LONGEST_SWEEP:
        raise InputError(f"{text} stands for {len(numbers)} runs; give a range of at most {_LONGEST_SWEEP}.")
    return map(str, numbers)


def _is_numeric(group: str, conf: Path) -> bool:
    options = _options(group, conf)
    return bool(options) and all(re.fullmatch("[0-9]+", option) for option in options)


def _options(group: str, conf: Path) -> list[str]:
    # A key may be longer than a file name, or be an absolute path: neither is a group.
    if not re.fullmatch(r"\w{1,100}(/\w{1,100})*", group):
        return []
    return sorted(path.stem for path in (conf / group).glob("*.yaml"))
