"""Features faster than by a plain loop: half precision and channels last where the machine gains by it, checked.

On a CPU the network is traced and frozen too, which folds batch norms into convolutions. Whatever is gained, the
features of the first batch must point where those of the plain network in single precision do.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from activessf.errors import InputError

Precision = Literal["fp32", "bf16", "fp16"]
Compute = Callable[[Tensor], Tensor]

LEAST_COSINE = 0.999
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_TRACED_IMAGES = 2


def resolved_precision(precision: str, device: torch.device) -> Precision:
    """The precision that a setting means on a device.

    Args:
        precision: `fp32`, `bf16`, `fp16`, or `auto`: on a GPU bf16 or else fp16, on a CPU bf16 where it has
            instructions for it (AVX-512 BF16 or AMX) and else fp32, since emulated bf16 is slower.
        device: Where the network runs.

    Raises:
        InputError: None of these, or fp16 on a CPU.
    """
    if precision == "fp32":
        return "fp32"
    if precision == "bf16":
        return "bf16"
    if precision == "fp16" and device.type == "cuda":
        return "fp16"
    if precision != "auto":
        raise InputError(
            f"selection.features.precision={precision} is none of auto, fp32, bf16, and fp16 on a GPU; choose one."
        )
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if _has_bf16_instructions() else "fp32"


def compute(network: nn.Module, precision: Precision, device: torch.device, first: Tensor) -> Compute:
    """How features are computed: a function of normalised images, (N, 3, H, W), float32, to features, (N, d), float32.

    Args:
        network: In evaluation mode.
        precision: What to compute in. If a feature of `first` has a cosine with the plain network's below 0.999, it is
            fp32, with a warning.
        device: Where.
        first: The first batch.
    """
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    plain = _on(device, network)
    fast = network if device.type == "cuda" else _frozen(network, first)
    if precision != "fp32":
        half = _on(device, _autocast(fast, _TYPES[precision], device))
        least = _least_cosine(half, plain, first)
        if least >= LEAST_COSINE:
            return half
        warnings.warn(
            f"Features are computed in fp32 instead of {precision}, since a feature's cosine with that of fp32 is "
            f"{least:.4f}, below {LEAST_COSINE}; selection.features.precision=fp32 asks for that at once.",
            stacklevel=2,
        )
    exact = _on(device, fast)
    return exact if _least_cosine(exact, plain, first) >= LEAST_COSINE else plain


def _least_cosine(one: Compute, other: Compute, images: Tensor) -> float:
    """The smallest cosine between two features of an image; features of length 0 agree if both are."""
    first, second = one(images).double(), other(images).double()
    cosines = torch.cosine_similarity(first, second, dim=1)
    cosines[(first == second).all(dim=1)] = 1.0
    return float(cosines.min())


def _on(device: torch.device, network: Compute) -> Compute:
    @torch.inference_mode()
    def computed(images: Tensor) -> Tensor:
        return network(images.to(device, memory_format=torch.channels_last)).float().cpu()

    return computed


def _autocast(network: Compute, dtype: torch.dtype, device: torch.device) -> Compute:
    def computed(images: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype):
            return network(images)

    return computed


def _frozen(network: nn.Module, first: Tensor) -> Compute:
    """The network as a graph with its batch norms folded; or itself, if it is of a kind that can't be traced."""
    images = first[:_TRACED_IMAGES].to(memory_format=torch.channels_last)
    with warnings.catch_warnings(), torch.no_grad():
        # Deprecated in favour of torch.compile, which needs a C++ compiler at hand.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        # Branches on shapes are harmless: all images have one size, and the result is checked.
        warnings.filterwarnings("ignore", "Converting a tensor to a Python|torch.tensor results are registered")
        try:
            frozen: Compute = torch.jit.freeze(torch.jit.trace(network, images, check_trace=False))  # type: ignore[no-untyped-call]
        except (RuntimeError, TypeError, AttributeError):
            return network
    return frozen


def _has_bf16_instructions() -> bool:
    # torch tells it under these names only, which may go.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)
