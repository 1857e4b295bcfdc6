"""The window transformer of MixMIM (MixMAE; Liu et al., CVPR 2023, arXiv 2205.13137)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import DropPath, Mlp, PatchEmbed, calculate_drop_path_rates, trunc_normal_
from timm.models import checkpoint
from timm.models.swin_transformer import (
    PatchMerging,
    get_relative_position_index,
    window_partition,
    window_reverse,
)
from torch import Tensor, nn
from torch.nn import functional as F

from activessf.errors import InputError
from activessf.methods.initialisation import initialise_linear_and_norm
from activessf.methods.positions import sincos_positions

NUM_STAGES = 4
_PARTS = 4  # first patches along a side of a token of the third stage
MERGED = 2 ** (NUM_STAGES - 1)  # first patches along a side of a last token

# The logit of a pair that must not see each other. Published: -1e30, and this in half precision, which ends at 65504;
# the softmax makes exactly 0 of either.
_FOREIGN = -65500.0


def upsampled(cells: Tensor, factor: int) -> Tensor:
    """Every cell of a grid (rows, columns) as a square of `factor` x `factor`."""
    return cells.repeat_interleave(factor, dim=0).repeat_interleave(factor, dim=1)


def foreign_pairs(sources: Tensor, window_size: int) -> Tensor:
    """Pairs of tokens in a window that come from different images.

    Args:
        sources: What each token comes from, (H, W).
        window_size: Tokens along the side of a window.

    Returns:
        Booleans, (windows, T, T), with T tokens in a window.
    """
    windows = window_partition(sources[None, :, :, None], (window_size, window_size)).flatten(1)  # (windows, T)
    pairs: Tensor = windows[:, :, None] != windows[:, None, :]
    return pairs


class WindowAttention(nn.Module):
    """Attention inside windows, with a learned bias for every relative position (Swin, arXiv 2103.14030, Eq. 4).

    Args:
        dim: Width.
        num_heads: Attention heads.
        window_size: Tokens along the side of a window.

    Attributes:
        fused_attn: Whether PyTorch's fused kernel is used, as in timm's blocks.
    """

    relative_position_index: Tensor

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.fused_attn = True
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))
        # In the state dict, as published.
        self.register_buffer("relative_position_index", get_relative_position_index(window_size, window_size))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, foreign: Tensor | None) -> Tensor:
        """Attend within each window.

        Args:
            x: Tokens, (N, windows, T, C).
            foreign: See `foreign_pairs`; None = every token sees all of its window.
        """
        N, W, T, C = x.shape
        # Windows stand beside heads: what is added to the logits is then one for all images.
        q, k, v = self.qkv(x).reshape(N, W, T, 3, self.num_heads, -1).permute(3, 0, 1, 4, 2, 5).flatten(2, 3)
        bias = self._bias(W, foreign).to(q.dtype)
        if self.fused_attn:
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            x = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1) + bias).softmax(dim=-1) @ v
        x = x.reshape(N, W, self.num_heads, T, -1).transpose(2, 3).reshape(N, W, T, C)
        projected: Tensor = self.proj(x)
        return projected

    def _bias(self, num_windows: int, foreign: Tensor | None) -> Tensor:
        """What is added to the logits, (windows x heads, T, T)."""
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)  # (heads, T, T)
        bias = bias.expand(num_windows, -1, -1, -1)
        if foreign is not None:
            bias = bias.masked_fill(foreign[:, None], _FOREIGN)
        return bias.flatten(0, 1)


class WindowBlock(nn.Module):
    """A pre-norm transformer block whose attention stays inside windows; these are never shifted.

    Args:
        dim: Width.
        num_heads: Attention heads.
        window_size: Tokens along the side of a window.
        drop_path_rate: Probability that a branch is left out, in training.
    """

    def __init__(self, dim: int, num_heads: int, window_size: int, drop_path_rate: float) -> None:
        super().__init__()
        self.window_size = (window_size, window_size)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window_size)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, foreign: Tensor | None) -> Tensor:
        """Tokens in and out: (N, H, W, C); `foreign` as in `WindowAttention`."""
        x = x + self.drop_path(self._attended(self.norm1(x), foreign))
        after: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return after

    def _attended(self, x: Tensor, foreign: Tensor | None) -> Tensor:
        N, H, W, C = x.shape
        windows = window_partition(x, self.window_size).view(N, -1, self.window_size[0] * self.window_size[1], C)
        attended: Tensor = window_reverse(self.attn(windows, foreign), self.window_size, H, W)
        return attended


class Stage(nn.Module):
    """Blocks of one width and grid; then 2 x 2 tokens become one, of twice the width, unless it is the last stage.

    The four stand in the order (0, 0), (1, 0), (0, 1), (1, 1) of row and column.

    Args:
        dim: Width.
        num_heads: Attention heads.
        window_size: Tokens along the side of a window.
        drop_path_rates: One for each block.
        is_last: Whether it is the last stage.
    """

    def __init__(
        self, dim: int, num_heads: int, window_size: int, drop_path_rates: Sequence[float], is_last: bool
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.grad_checkpointing = False
        self.blocks = nn.ModuleList(WindowBlock(dim, num_heads, window_size, rate) for rate in drop_path_rates)
        self.downsample = nn.Identity() if is_last else PatchMerging(dim)

    def forward(self, x: Tensor, sources: Tensor | None) -> Tensor:
        """Tokens in (N, H, W, C), out (N, H / 2, W / 2, 2C) or, in the last stage, as in.

        Args:
            x: Tokens.
            sources: What each token comes from, (H, W); those of different sources don't see each other.
        """
        foreign = None if sources is None else foreign_pairs(sources, self.window_size)
        for block in self.blocks:
            if self.grad_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, foreign)
            else:
                x = block(x, foreign)
        merged: Tensor = self.downsample(x)
        return merged


class MixMIMTransformer(nn.Module):
    """Four stages of window attention on fixed positions, then norm, mean and head.

    Behaves as timm's networks do. Weights and names are those of the published code, index buffers included; every
    LayerNorm has PyTorch's epsilon, 1e-5. A token of the last stage covers 8 x 8 first patches.

    Args:
        img_size: Side of the square image, in pixels: a multiple of 2 x patch_size.
        patch_size: Side of the square of pixels that a token of the third stage covers; the first patches are a quarter
            of it.
        embed_dim: Width of the first stage; each next one has twice as much.
        depths: Blocks of each of the four stages.
        num_heads: Attention heads of each stage.
        num_classes: Outputs of the head; 0 = none, features instead.
        window_sizes: Tokens along the side of each stage's windows, cut to the stage's grid; None = as many as make
            4 x 4, 2 x 2, 1 and 1 windows, the published topology (14, 14, 14, 7 at 224 pixels).
        global_pool: "avg", or "" for a head on every token.
        drop_path_rate: Of the last block; rises linearly from 0.
        pretrained: Must be false: there are no weights to be had.

    Attributes:
        cell_size: Side of the square of pixels that a token of the last stage covers.
        grid_size: Rows and columns of the tokens of the last stage.

    Raises:
        InputError: Pretrained weights are asked for, or sizes don't fit each other.
    """

    def __init__(
        self,
        *,
        img_size: int,
        patch_size: int,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        num_classes: int,
        window_sizes: Sequence[int] | None = None,
        global_pool: str = "avg",
        drop_path_rate: float = 0.0,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        if pretrained:
            raise InputError(
                "backbone.pretrained=true: timm's hub has no weights of MixMIM; leave it away, or pretrain with "
                "ssl=mixmim."
            )
        dims = [embed_dim * 2**stage for stage in range(NUM_STAGES)]
        first = _first_patch_size(patch_size)
        windows = _window_sizes(img_size, first, window_sizes)
        _check_stages(dims, depths, num_heads)
        self.num_classes = num_classes
        self.embed_dim = embed_dim
        self.num_features = self.head_hidden_size = dims[-1]
        self.global_pool = global_pool
        self.pretrained_cfg = {"classifier": "head", "first_conv": "patch_embed.proj"}
        self.depths = tuple(depths)
        self.cell_size = MERGED * first
        self.grid_size = (img_size // self.cell_size,) * 2
        self.patch_embed = PatchEmbed(img_size, first, 3, embed_dim, norm_layer=nn.LayerNorm, output_fmt="NHWC")
        positions = sincos_positions(embed_dim, self.patch_embed.grid_size, class_token=False)
        self.absolute_pos_embed = nn.Parameter(positions, requires_grad=False)
        rates = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        self.layers = nn.ModuleList(
            Stage(dims[i], num_heads[i], windows[i], rates[i], is_last=i == NUM_STAGES - 1) for i in range(NUM_STAGES)
        )
        self.norm = nn.LayerNorm(self.num_features)
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        self._initialise()

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes), of normalised images, (N, 3, H, W); without a head pooled features, (N, D)."""
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Normed tokens of the last stage in raster order, (N, L, D), of normalised images, (N, 3, H, W)."""
        return self.encode(self.patch_embed(images))

    def encode(self, patches: Tensor, sources: Tensor | None = None) -> Tensor:
        """Normed tokens of the last stage in raster order, (N, L, D).

        Args:
            patches: What `patch_embed` gives, (N, rows, columns, C), perhaps mixed of several images.
            sources: For mixtures, the number of the image that each cell of the last stage's grid comes from, the
                same in all of the batch, (rows, columns): tokens see those of their own image alone.
        """
        x = patches + self.absolute_pos_embed.view(1, *patches.shape[1:])
        for stage, layer in enumerate(self.layers):
            factor = MERGED // 2**stage
            x = layer(x, None if sources is None else upsampled(sources, factor))
        tokens: Tensor = self.norm(x.flatten(1, 2))
        return tokens

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The mean of normed tokens, (N, L, D), and the head on it, unless `pre_logits`."""
        if self.global_pool == "avg":
            x = x.mean(dim=1)
        return x if pre_logits else self.head(x)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh head; 0 classes = none."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool = global_pool
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        self._initialise_head()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether blocks are computed again in the backward pass, to save memory."""
        for stage in self.modules():
            if isinstance(stage, Stage):
                stage.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """None: the published fine-tuning decays the bias tables too."""
        return set()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers for timm's `group_parameters`, by the published rule.

        What merges tokens belongs to the first block of the next stage, norm and head to the last block.
        """
        if coarse:
            return {"stem": r"^absolute_pos_embed|^patch_embed", "blocks": [(r"^layers\.(\d+)", None)]}
        blocks: list[tuple[str, tuple[int, int] | None]] = [(r"^layers\.(\d+)\.blocks\.(\d+)", None)]
        blocks += [(rf"^layers\.{stage}\.downsample", (stage + 1, 0)) for stage in range(NUM_STAGES - 1)]
        blocks += [(r"^norm|^head", (NUM_STAGES - 1, self.depths[-1] - 1))]
        return {"stem": r"^absolute_pos_embed|^patch_embed", "blocks": blocks}

    @property
    def full_rate_layer(self) -> int:
        """The layer at the full learning rate: by the published rule one above all of the network, head included."""
        return sum(self.depths) + 1

    def _initialise(self) -> None:
        """As published: xavier-uniform linear layers, bias tables N(0, 0.02); the patch projection keeps PyTorch's."""
        initialise_linear_and_norm(self)
        for module in self.modules():
            if isinstance(module, WindowAttention):
                trunc_normal_(module.relative_position_bias_table, std=0.02)
        self._initialise_head()

    def _initialise_head(self) -> None:
        if isinstance(self.head, nn.Linear):
            trunc_normal_(self.head.weight, std=2e-5)  # as the published fine-tuning
            nn.init.zeros_(self.head.bias)


def _first_patch_size(patch_size: int) -> int:
    if patch_size < _PARTS or patch_size % _PARTS:
        raise InputError(
            f"MixMIM's first patches are a quarter of patch_size={patch_size} pixels; take a multiple of {_PARTS} "
            "(recipe.patch_size)."
        )
    return patch_size // _PARTS


def _window_sizes(img_size: int, patch_size: int, chosen: Sequence[int] | None) -> list[int]:
    """The window of each stage, which must divide its grid; `patch_size` is that of the first patches."""
    cell = MERGED * patch_size
    if img_size < cell or img_size % cell:
        raise InputError(
            f"MixMIM with first patches of {patch_size} pixels needs images of a multiple of {cell} pixels, not "
            f"{img_size}; use recipe.image_size={max(1, round(img_size / cell)) * cell}."
        )
    grids = [img_size // (patch_size * 2**stage) for stage in range(NUM_STAGES)]
    if chosen is None:
        return [*[2 * grids[-1]] * (NUM_STAGES - 1), grids[-1]]
    windows = [min(window, grid) for window, grid in zip(chosen, grids, strict=False)]
    if len(chosen) != NUM_STAGES or any(w < 1 or grid % w for w, grid in zip(windows, grids, strict=True)):
        raise InputError(
            f"backbone.window_sizes={list(chosen)} don't divide the grids of {grids} tokens; give {NUM_STAGES} that "
            "do, or null."
        )
    return windows


def _check_stages(dims: Sequence[int], depths: Sequence[int], num_heads: Sequence[int]) -> None:
    if len(depths) != NUM_STAGES or min(depths) < 1:
        raise InputError(f"backbone.depths={list(depths)} must be {NUM_STAGES} numbers, 1 or more.")
    if len(num_heads) != NUM_STAGES or any(h < 1 or dim % h for dim, h in zip(dims, num_heads, strict=True)):
        raise InputError(
            f"backbone.num_heads={list(num_heads)} must be {NUM_STAGES} numbers that divide the widths {list(dims)}."
        )
