"""Attention heads, the size that no tensor shows: files that are written here tell them beside the weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from activessf.checkpoints.sniffing import is_safetensors

SUFFIX = ".safetensors"
_KEY = "attention_heads"
_COUNTS = re.compile(r"[1-9][0-9]{0,2}(,[1-9][0-9]{0,2})*")  # no attention has a thousand heads


def attention_heads(network: nn.Module) -> tuple[int, ...]:
    """Heads of each attention of a network, in the order of its modules; () = it has none."""
    return tuple(part.num_heads for part in _attentions(network))


def save_network(network: nn.Module, path: Path) -> None:
    """Write a network's tensors and, as metadata, its heads into one safetensors file.

    Args:
        network: Encoder or classifier.
        path: The file; what is there is replaced.
    """
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    heads = attention_heads(network)
    # One entry: several are written in any order, and equal networks would not be equal files.
    save_file(weights, path, {_KEY: ",".join(map(str, heads))} if heads else {"format": "pt"})


def told_heads(path: Path) -> tuple[int, ...]:
    """The heads that a file tells of; () = it tells none, as files from elsewhere.

    Args:
        path: A file that can be read as weights.
    """
    if not is_safetensors(path):
        return ()
    with safe_open(path, "pt") as file:
        told = (file.metadata() or {}).get(_KEY, "")
    return tuple(map(int, told.split(","))) if _COUNTS.fullmatch(told) else ()


def could_have(network: nn.Module, heads: tuple[int, ...]) -> bool:
    """Whether a network of the same sizes can have these heads: they divide the channels, and equal widths as many.

    Args:
        network: Its attentions are compared, in their order, with as many of `heads`.
        heads: At least 1 each.
    """
    pairs = {
        (part.qkv.in_features, count)
        for part, count in zip(_attentions(network), heads, strict=False)
        if isinstance(getattr(part, "qkv", None), nn.Linear)
    }
    return len({width for width, _ in pairs}) == len(pairs) and not any(width % count for width, count in pairs)


def _attentions(network: nn.Module) -> list[Any]:
    return [part for part in network.modules() if isinstance(getattr(part, "num_heads", None), int)]
