"""ConvViT: convolutions, then a Vision Transformer (ConvMAE, Gao et al., NeurIPS 2022, arXiv 2205.03892)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from timm.layers import DropPath, LayerNorm2d, Mlp, PatchEmbed, calculate_drop_path_rates, global_pool_nlc
from timm.models import checkpoint
from timm.models.vision_transformer import Block, init_weights_vit_timm
from torch import Tensor, nn

from activessf.errors import InputError

# The published network has two: torch's own up to the last patch embedding, that of Vision Transformers after it.
_CONVOLUTION_NORM_EPS = 1e-5
_TRANSFORMER_NORM_EPS = 1e-6
# Side of a token in cells of the first and the second stage.
_CELLS = (4, 2)
_MLP_RATIO = 4


class KeptTokens(NamedTuple):
    """Some tokens of each image, of which alone cells are computed: those of one after the other, in a column.

    Attributes:
        kept: Which, (N, kept): places in raster order.
        grid_size: Rows and columns of all tokens.
    """

    kept: Tensor
    grid_size: tuple[int, int]

    def column(self, maps: Tensor) -> Tensor:
        """The cells of kept tokens, (N, C, kept side, side), out of those of all, (N, C, rows side, columns side)."""
        N, C, H, _ = maps.shape
        (rows, columns), side = self.grid_size, H // self.grid_size[0]
        squares = maps.view(N, C, rows, side, columns, side).transpose(3, 4).reshape(N, C, rows * columns, side**2)
        return squares.gather(2, self._places(squares)).view(N, C, -1, side)

    def spread(self, column: Tensor) -> Tensor:
        """The other way: cells of kept tokens at their places, and zeros everywhere else."""
        N, C, _, side = column.shape
        rows, columns = self.grid_size
        squares = column.new_zeros(N, C, rows * columns, side**2)
        squares = squares.scatter(2, self._places(squares), column.reshape(N, C, -1, side**2))
        return squares.view(N, C, rows, columns, side, side).transpose(3, 4).reshape(N, C, rows * side, columns * side)

    def _places(self, squares: Tensor) -> Tensor:
        N, C, _, cells = squares.shape
        return self.kept[:, None, :, None].expand(N, C, -1, cells)


class ConvBlock(nn.Module):
    """A block of the first two stages: a 5 x 5 depthwise convolution where a transformer has attention, then an MLP.

    Args:
        dim: Channels.
        drop_path: Probability with which a residual branch is left out, per image.
    """

    def __init__(self, dim: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = LayerNorm2d(dim, eps=_CONVOLUTION_NORM_EPS)
        self.conv1 = nn.Conv2d(dim, dim, 1)
        self.attn = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.conv2 = nn.Conv2d(dim, dim, 1)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = LayerNorm2d(dim, eps=_CONVOLUTION_NORM_EPS)
        self.mlp = Mlp(dim, _MLP_RATIO * dim, use_conv=True)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor, visible: KeptTokens | None = None) -> Tensor:
        """Features of the shape of `x`.

        Args:
            x: Features, (N, C, H, W).
            visible: The tokens that `x` is a column of, see `KeptTokens`; None = it is a map of all of them.
        """
        inner = self.conv1(self.norm1(x))
        # The one operator that looks at other cells sees zeros where tokens are hidden.
        seen = self.attn(inner) if visible is None else visible.column(self.attn(visible.spread(inner)))
        x = x + self.drop_path1(self.conv2(seen))
        result: Tensor = x + self.drop_path2(self.mlp(self.norm2(x)))
        return result


class ConvViT(nn.Module):
    """A network with the interface of timm's, with the weights' names of the published code.

    Its tokens lie on a grid of `patch_size` pixels; there is no class token.

    Args:
        img_size: Side of the square image, pixels.
        patch_size: Side of the square of pixels that a token of the last stage stands for; the cells of the first
            stage are a quarter of it, those of the second half.
        embed_dims: Channels of the three stages.
        depths: Blocks of the three stages.
        num_heads: Attention heads of the last stage.
        num_classes: Outputs; 0 = no classifier.
        global_pool: "" gives the tokens after their last norm, for pretraining; "avg" their mean, which has a norm of
            its own in place of that.
        drop_path_rate: Probability with which a residual branch is left out, in the last block; it rises from 0 in
            the first one.
        pretrained: Must be False.

    Attributes:
        embed_dims: Channels of the three stages.
        embed_dim: Channels of the last stage; so is `num_features`.
        grid_size: Rows and columns of tokens.
        num_patches: Number of tokens.
        grad_checkpointing: See `set_grad_checkpointing`.

    Raises:
        InputError: Pretrained weights are asked for, or sizes that don't fit one another.
    """

    num_prefix_tokens = 0

    def __init__(
        self,
        img_size: int,
        patch_size: int,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        num_heads: int,
        num_classes: int = 1000,
        global_pool: str = "",
        drop_path_rate: float = 0.0,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        if pretrained:
            raise InputError(
                "backbone.pretrained=true: there are no pretrained weights of ConvViT here; set it to false."
            )
        _check_sizes(img_size, patch_size, embed_dims, depths, num_heads)
        _check_pooling(global_pool)
        self.pretrained_cfg = {"classifier": "head", "first_conv": "patch_embed1.proj"}
        self.num_classes = num_classes
        self.global_pool = global_pool
        self.embed_dims = tuple(embed_dims)
        self.embed_dim = self.num_features = self.head_hidden_size = embed_dims[2]
        self.patch_size = patch_size
        self.grid_size = (img_size // patch_size,) * 2
        self.num_patches = self.grid_size[0] ** 2
        self.grad_checkpointing = False

        embed = partial(PatchEmbed, norm_layer=partial(LayerNorm2d, eps=_CONVOLUTION_NORM_EPS), flatten=False)
        # Not strict: a column of visible tokens is no square image.
        self.patch_embed1 = embed(img_size, patch_size // _CELLS[0], embed_dim=embed_dims[0], strict_img_size=False)
        self.patch_embed2 = embed(None, 2, in_chans=embed_dims[0], embed_dim=embed_dims[1])
        self.patch_embed3 = embed(None, 2, in_chans=embed_dims[1], embed_dim=embed_dims[2])
        self.patch_embed4 = nn.Linear(self.embed_dim, self.embed_dim)
        self.act = nn.GELU()
        self.pos_embed = nn.Parameter(torch.zeros(1, self.num_patches, self.embed_dim))

        rates = iter(calculate_drop_path_rates(drop_path_rate, sum(depths)))
        norm = partial(nn.LayerNorm, eps=_TRANSFORMER_NORM_EPS)
        block = partial(Block, self.embed_dim, num_heads, mlp_ratio=_MLP_RATIO, qkv_bias=True, norm_layer=norm)
        self.blocks1 = nn.ModuleList(ConvBlock(embed_dims[0], next(rates)) for _ in range(depths[0]))
        self.blocks2 = nn.ModuleList(ConvBlock(embed_dims[1], next(rates)) for _ in range(depths[1]))
        self.blocks3 = nn.ModuleList(block(drop_path=next(rates)) for _ in range(depths[2]))
        self.norm = nn.Identity() if global_pool else norm(self.embed_dim)
        self.fc_norm = norm(self.embed_dim) if global_pool else nn.Identity()
        self.head = nn.Linear(self.embed_dim, num_classes) if num_classes else nn.Identity()
        self._initialise()

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, num_classes), or features where there is no classifier, of normalised images, (N, 3, H, W)."""
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Tokens, (N, L, D), in raster order."""
        _, _, tokens = self.forward_convolutions(images)
        normed: Tensor = self.norm(self.forward_transformer(tokens))
        return normed

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits of tokens, (N, L, D); with `pre_logits` the features that the classifier sees."""
        pooled = self.fc_norm(global_pool_nlc(tokens, self.global_pool, num_prefix_tokens=0))
        result: Tensor = pooled if pre_logits else self.head(pooled)
        return result

    def forward_convolutions(self, images: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The first two stages and the way to the third.

        The published code computes hidden tokens as well and uses nothing of them.

        Args:
            images: Normalised images, (N, 3, H, W).
            kept: The tokens that are computed, places in raster order, (N, K); the others' pixels are not looked at.
                None = all.

        Returns:
            Features of the first stage, (N, C1, 4 rows, 4 columns), and of the second, (N, C2, 2 rows, 2 columns), or
            columns of the kept tokens, (N, C1, 4 K, 4) and (N, C2, 2 K, 2); tokens for the third stage with their
            positions, (N, L, D) in raster order, or (N, K, D).
        """
        visible = None if kept is None else KeptTokens(kept, self.grid_size)
        pixels = images if visible is None else visible.column(images)
        first = self._through(self.blocks1, self.act(self.patch_embed1(pixels)), visible)
        second = self._through(self.blocks2, self.act(self.patch_embed2(first)), visible)
        tokens = self.patch_embed4(self.act(self.patch_embed3(second)).flatten(2).transpose(1, 2))
        return first, second, tokens + (self.pos_embed if kept is None else self.pos_embed[0, kept])

    def forward_transformer(self, tokens: Tensor) -> Tensor:
        """Any tokens, (N, any, D), through the blocks of the third stage; no norm behind them."""
        return self._through(self.blocks3, tokens)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters without weight decay besides vectors."""
        return {"pos_embed"}

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Layers for layer-wise learning rates, as published: all convolutions are the stem."""
        return {"stem": r"^pos_embed|patch_embed\d|blocks[12]\.", "blocks": r"^blocks3\.(\d+)"}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether blocks are computed again for their gradient instead of kept in memory."""
        self.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """The classifier; an identity if there is none."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh classifier in place; which norm there is stays as it was made.

        Args:
            num_classes: Outputs; 0 = no classifier.
            global_pool: See `ConvViT`; None = as it is.
        """
        if global_pool is not None:
            _check_pooling(global_pool)
            self.global_pool = global_pool
        self.num_classes = num_classes
        self.head = nn.Linear(self.embed_dim, num_classes) if num_classes else nn.Identity()
        self.head.to(self.pos_embed.device, self.pos_embed.dtype)

    def _through(self, blocks: nn.ModuleList, x: Tensor, *visible: KeptTokens | None) -> Tensor:
        for block in blocks:
            x = checkpoint(block, x, *visible) if self.grad_checkpointing else block(x, *visible)
        return x

    def _initialise(self) -> None:
        """As timm draws a Vision Transformer; convolutions keep PyTorch's weights."""
        self.apply(partial(init_weights_vit_timm, needs_reset=False))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)


def _check_sizes(
    img_size: int, patch_size: int, embed_dims: Sequence[int], depths: Sequence[int], num_heads: int
) -> None:
    if patch_size % _CELLS[0]:
        raise InputError(
            f"ConvViT's tokens of patch_size={patch_size} can't have {_CELLS[0]} x {_CELLS[0]} cells; take a multiple "
            f"of {_CELLS[0]} (recipe.patch_size)."
        )
    if img_size % patch_size:
        raise InputError(f"img_size={img_size} is no multiple of ConvViT's patch_size={patch_size}; make it one.")
    if len(embed_dims) != 3 or len(depths) != 3:
        raise InputError(
            f"ConvViT has three stages, but embed_dims={list(embed_dims)} and depths={list(depths)} are given; give "
            "three numbers for each."
        )
    if embed_dims[2] % num_heads:
        raise InputError(f"{num_heads} heads can't share ConvViT's {embed_dims[2]} channels; take a divisor of them.")


def _check_pooling(global_pool: str) -> None:
    if global_pool not in ("", "avg"):
        raise InputError(f'ConvViT has no class token and pools by "avg" or "" (not at all), not {global_pool!r}.')
