"""Small readings of the composed configuration; only the pipeline uses it."""

from __future__ import annotations

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from activessf.errors import InputError


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


def plain(node: Any) -> Any:
    """A configuration node as plain values, interpolations resolved."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def without(node: DictConfig, *keys: str) -> dict[str, Any]:
    """A configuration node as plain values, some of its keys left out."""
    return {key: value for key, value in plain(node).items() if key not in keys}


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level of dotted names."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        result.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return result
