"""Attention heads, the size that no tensor shows: files that are written here tell them beside the weights."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

SUFFIX = ".safetensors"
_KEY = "attention_heads"


def attention_heads(network: nn.Module) -> tuple[int, ...]:
    """Heads of each attention of a network, in the order of its modules; () = it has none."""
    counts = (getattr(part, "num_heads", None) for part in network.modules())
    return tuple(count for count in counts if isinstance(count, int))


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
    if path.suffix != SUFFIX:
        return ()
    with safe_open(path, "pt") as file:
        told = (file.metadata() or {}).get(_KEY, "")
    counts = told.split(",")
    return tuple(map(int, counts)) if all(count.isdecimal() for count in counts) else ()
