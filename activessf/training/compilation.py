"""Compiled blocks: torch.compile where it pays, on the parts that repeat."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import nn

from activessf.backbones.convvit import ConvBlock
from activessf.backbones.mixmim_transformer import WindowBlock
from activessf.methods.mixedae import MixedAE

_BLOCKS = (Block, ConvBlock, WindowBlock)


def compile_blocks(module: nn.Module) -> int:
    """Compile every transformer and convolution block of a method, in place; returns how many there are.

    Blocks of the same shapes share their code, so that this takes seconds where compiling the whole step takes minutes,
    and what is random or differs from step to step (masks, the progress of the training) stays outside.
    """
    blocks = [part for part in module.modules() if isinstance(part, _BLOCKS)]
    for block in blocks:
        block.compile(dynamic=False)  # shapes stay as they are, and code for any shape is slower
    if isinstance(module, MixedAE):  # goes through the parts of such blocks one by one
        module.restricted_block = torch.compile(module.restricted_block, dynamic=False)
    return len(blocks)
