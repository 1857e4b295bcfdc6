"""Small readings of the composed configuration; only the pipeline uses it."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf


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
