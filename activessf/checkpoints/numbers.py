"""Whether the tensors of a file are numbers that a network can take as they are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from activessf.errors import InputError

_REAL = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# Indexes and counters are whole numbers in networks too. A counter, of batches or of steps, is a single one.
_INDEXES = ("position_index", "position_ids")
_COUNTERS = (torch.int64, torch.int32)


def check_numbers(weights: Mapping[str, Tensor], origin: object) -> None:
    """Refuse weights that would be cut to fit, or can't be computed with.

    Loading casts without a word: of complex numbers it takes the real part, of quantised ones the codes.

    Args:
        weights: Named tensors.
        origin: Where they come from, for messages.

    Raises:
        InputError: The first tensor that is not dense, real, floating-point and finite, and what to do about it.
    """
    for name, value in weights.items():
        if complaint := _complaint(name, value):
            raise InputError(f"{origin} holds {complaint}.")


def _complaint(name: str, value: Tensor) -> str | None:
    if value.is_meta:
        return f"no values of {name!r}, which is on the device meta; save the network when its weights are in memory"
    if value.is_quantized:
        return f"{name!r} quantised, as {value.dtype}; save it dequantised, by its method dequantize()"
    if value.is_nested or value.layout != torch.strided:
        what = "nested" if value.is_nested else str(value.layout)
        return f"{name!r} as a tensor that is not dense ({what}); save it dense, e.g. by its method to_dense()"
    if value.dtype in _REAL:
        finite = bool(value.isfinite().all())
        return None if finite else f"values that are no finite numbers, in {name!r}; take sound weights"
    if value.is_floating_point():
        return f"{name!r} as {value.dtype}, which must be converted to float32 first, with its scales if it has such"
    if name.endswith(_INDEXES) and not value.is_complex() or value.ndim == 0 and value.dtype in _COUNTERS:
        return None
    return f"{name!r} as {value.dtype}, and weights are real floating-point numbers; save it as float32"
