"""Small readings of the composed configuration; only the pipeline uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from activessf.errors import InputError

CONF = Path(__file__).resolve().parents[1] / "conf"

# What the settings of data say of folds, and not of where the data come from.
FOLDING = ("num_folds", "join_duplicates", "largest_joined_group")


def build(node: Any, **arguments: Any) -> Any:
    """The object that a node with `_target_` describes; a user's mistake found on the way comes out as it is.

    Args:
        node: A configuration node or plain mapping.
        **arguments: Further arguments of the constructor.

    Raises:
        InputError: The constructor refused a value.
    """
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise


def plain(node: Any, resolve: bool = True) -> Any:
    """A configuration node as plain values, interpolations resolved unless they are to stay."""
    return OmegaConf.to_container(node, resolve=resolve) if OmegaConf.is_config(node) else node


def without(node: DictConfig, *keys: str) -> dict[str, Any]:
    """A configuration node as plain values, some of its keys left out."""
    return {key: value for key, value in plain(node).items() if key not in keys}


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level of dotted names."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        result.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return result


def region_settings(name: str, folder: Path = CONF / "regions") -> dict[str, Any]:
    """The settings of a preset of stage 1, those that it takes over from others included.

    Raises:
        InputError: There is no such preset.
    """
    if not (folder / f"{name}.yaml").is_file():
        there = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        raise InputError(f"There is no preset {name!r} for stage 1; there are {there}.")
    settings: dict[str, Any] = plain(OmegaConf.load(folder / f"{name}.yaml"))
    for base in settings.pop("defaults", []):
        if base != "_self_":
            settings = region_settings(base, folder) | settings
    return settings


def is_supervised(config: DictConfig) -> bool:
    """Whether a configuration has no pretraining: a supervised baseline."""
    return config.ssl_method.method is None
