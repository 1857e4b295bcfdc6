"""ConvViT: convolutions, then a Vision Transformer (ConvMAE, Gao et al., NeurIPS 2022, arXiv 2205.03892)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

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

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Features, (N, C, H, W).

        Args:
            x: Features, (N, C, H, W).
            hidden: Cells that no other cell may see, bool, (N, 1, H, W); None = all are seen.
        """
        inner = self.conv1(self.norm1(x))
        if hidden is not None:
            inner = inner.masked_fill(hidden, 0.0)  # before the one operator that looks at other cells
        x = x + self.drop_path1(self.conv2(self.attn(inner)))
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
        self.patch_embed1 = embed(img_size, patch_size // _CELLS[0], embed_dim=embed_dims[0])
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

    def forward_convolutions(self, images: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The first two stages and the way to the third.

        Nothing of a hidden token's pixels gets into the output at another token's place.

        Args:
            images: Normalised images, (N, 3, H, W).
            hidden: Tokens that no other token may see, bool, (N, 1, rows, columns); None = all are seen.

        Returns:
            Features of the first stage, (N, C1, 4 rows, 4 columns), and of the second, (N, C2, 2 rows, 2 columns);
            tokens for the third stage with their positions, (N, L, D), in raster order.
        """
        first = self._through(self.blocks1, self.act(self.patch_embed1(images)), _enlarged(hidden, _CELLS[0]))
        second = self._through(self.blocks2, self.act(self.patch_embed2(first)), _enlarged(hidden, _CELLS[1]))
        tokens = self.act(self.patch_embed3(second)).flatten(2).transpose(1, 2)
        return first, second, self.patch_embed4(tokens) + self.pos_embed

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

    def _through(self, blocks: nn.ModuleList, x: Tensor, *hidden: Tensor | None) -> Tensor:
        for block in blocks:
            x = checkpoint(block, x, *hidden) if self.grad_checkpointing else block(x, *hidden)
        return x

    def _initialise(self) -> None:
        """As timm draws a Vision Transformer; convolutions keep PyTorch's weights."""
        self.apply(partial(init_weights_vit_timm, needs_reset=False))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)


def _enlarged(hidden: Tensor | None, cells: int) -> Tensor | None:
    """A mask of tokens as a mask of cells, of which a token has `cells` x `cells`."""
    if hidden is None:
        return None
    return hidden.repeat_interleave(cells, dim=-2).repeat_interleave(cells, dim=-1)


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
