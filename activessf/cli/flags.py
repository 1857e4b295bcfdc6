"""The flags of Hydra's command line, which may stand between the overrides."""

from __future__ import annotations

from collections.abc import Sequence

_FLAGS_WITH_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    "--experimental-rerun",
)
_INFO_FLAGS = ("--info", "-i")
_INFO_VALUES = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the flags, with their values, from the overrides; what follows `--` is override."""
    flags: list[str] = []
    overrides: list[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        following = arguments[position + 1] if position + 1 < len(arguments) else None
        position += 1
        if argument == "--dry-run":
            overrides.append("dry_run=true")
            continue
        if argument == "--":
            return flags, [*overrides, *arguments[position - 1 :]]
        if not argument.startswith("-"):
            overrides.append(argument)
        elif _takes_value(argument, following):
            flags += [argument, str(following)]
            position += 1
        else:
            # A bare --info would take the first override, once that follows it, for its value.
            flags.append("--info=all" if argument in _INFO_FLAGS else argument)
    return flags, overrides


def is_sweep(flags: Sequence[str], overrides: Sequence[str]) -> bool:
    """Whether a command line, parted by `split_flags`, asks for a sweep."""
    return not {"-m", "--multirun"}.isdisjoint(flags) or "hydra.mode=MULTIRUN" in overrides


def _takes_value(flag: str, following: str | None) -> bool:
    if following is None or following.startswith("-"):
        return False
    if flag in _INFO_FLAGS:
        return following in _INFO_VALUES
    # argparse also takes the beginning of a long flag (--config-d conf).
    shortened = len(flag) > 3 and any(name.startswith(flag) for name in _FLAGS_WITH_VALUE)
    return flag in _FLAGS_WITH_VALUE or shortened
