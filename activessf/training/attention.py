"""Attention by explicit products where the fused kernel is the slower one: half precision on a CPU."""

from __future__ import annotations

import torch
from pytorch_lightning import Trainer
from torch import nn


def choose_attention(module: nn.Module, trainer: Trainer) -> int:
    """Take fused attention away from a network that trains in bfloat16 on a CPU; returns from how many blocks.

    There the backward pass of the fused kernel takes two to seven times as long as that of matrix products and a
    softmax (experiments/results/methods.md); in 32 bits, and on a GPU, it is the faster one. What is computed is the
    same, up to rounding.

    Args:
        module: What is trained; changed in place.
        trainer: Says on what, and in which precision.
    """
    if not slow_when_fused(trainer.strategy.root_device, str(trainer.precision)):
        return 0
    return attend_explicitly(module)


def slow_when_fused(device: torch.device, precision: str) -> bool:
    """Whether explicit attention is the faster one."""
    return device.type == "cpu" and precision.startswith("bf16")


def attend_explicitly(module: nn.Module) -> int:
    """Switch attention blocks, timm's and MixMIM's, to explicit products, in place; returns how many there are."""
    blocks = [part for part in module.modules() if getattr(part, "fused_attn", False)]
    for block in blocks:
        block.fused_attn = False  # type: ignore[assignment]
    return len(blocks)
