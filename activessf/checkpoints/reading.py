"""Named tensors out of the files that published code writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from activessf.checkpoints.numbers import check_numbers
from activessf.errors import InputError
from activessf.pretrained import opened

# Where training files keep their weights, beside optimiser, epoch and arguments; the first that is there counts.
_HOLDERS = ("state_dict", "model", "teacher", "state_dict_ema", "model_ema")
# What torch puts before every name of a network that it has wrapped.
_WRAPPERS = ("module.", "_orig_mod.")


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors or torch file: a plain state dict, or a training file that holds one.

    Nothing but tensors, plain values and an `argparse.Namespace` is unpickled.

    Args:
        path: The file, "~" allowed.

    Raises:
        InputError: The file is not there, is damaged, or holds no weights or such as a network can't take.
    """
    held: Any = opened(Path(path))
    for key in _HOLDERS:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
            break
    if not isinstance(held, Mapping) or not held or not all(_is_named_tensor(*item) for item in held.items()):
        raise InputError(
            f"{path} holds no weights: a mapping of names to tensors is needed, by itself or under "
            f"{', '.join(_HOLDERS)}."
        )
    weights = _unwrapped(dict(held))
    check_numbers(weights, path)
    return weights


def _is_named_tensor(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _unwrapped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS * 2:  # in either order
        if all(name.startswith(wrapper) for name in weights):
            weights = {name.removeprefix(wrapper): value for name, value in weights.items()}
    return weights
