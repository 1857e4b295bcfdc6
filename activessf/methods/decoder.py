"""The light transformer that predicts pixels from encoded tokens, shared by the masked autoencoders."""

from __future__ import annotations

from functools import partial

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from activessf.errors import InputError
from activessf.methods.positions import sincos_positions


class PixelDecoder(nn.Module):
    """Tokens of the encoder's width in, the pixels of every patch out.

    Published code names its parts `decoder_embed`, `decoder_blocks`, ... and `mask_token`; here they are `embed`,
    `blocks`, ... and `mask_token` of this module.

    Args:
        embed_dim: Its width.
        depth: Number of blocks.
        num_heads: Attention heads.
        encoder_dim: Width of the tokens that come in.
        patch_size: Side of the square of pixels that a token predicts.
        grid_size: Rows and columns of tokens.
        class_token: Whether a class token stands before the patches.
        norm_eps: Epsilon of every LayerNorm.

    Raises:
        InputError: Its width, depth and heads can't be, or don't go together.
    """

    def __init__(
        self,
        embed_dim: int,
        depth: int,
        num_heads: int,
        *,
        encoder_dim: int,
        patch_size: int,
        grid_size: tuple[int, int],
        class_token: bool,
        norm_eps: float,
    ) -> None:
        super().__init__()
        _check_sizes(embed_dim, depth, num_heads)
        norm = partial(nn.LayerNorm, eps=norm_eps)
        self.num_prefix_tokens = int(class_token)
        self.embed = nn.Linear(encoder_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(sincos_positions(embed_dim, grid_size, class_token), requires_grad=False)
        self.blocks = nn.ModuleList(
            Block(embed_dim, num_heads, mlp_ratio=4, qkv_bias=True, norm_layer=norm) for _ in range(depth)
        )
        self.norm = norm(embed_dim)
        self.pred = nn.Linear(embed_dim, 3 * patch_size**2)

    def forward(self, tokens: Tensor) -> Tensor:
        """The pixels of all patches, (N, L, 3 p^2), ordered as by `pixels.patchify`.

        Args:
            tokens: One for each patch, (N, [1 +] L, embed_dim): embedded ones and mask tokens, in raster order.
        """
        return self.pixels(self.decoded(tokens))

    def decoded(self, tokens: Tensor) -> Tensor:
        """What `pixels` are made from, of all patches, (N, L, embed_dim); `tokens` as in `forward`."""
        tokens = tokens + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return tokens[:, self.num_prefix_tokens :]

    def pixels(self, decoded: Tensor) -> Tensor:
        """The pixels of patches, (N, any, 3 p^2), from what is decoded of each, (N, any, embed_dim)."""
        prediction: Tensor = self.pred(self.norm(decoded))
        return prediction

    def restored(self, tokens: Tensor, restore: Tensor) -> Tensor:
        """Embedded tokens with mask tokens put where patches are hidden, (N, [1 +] L, embed_dim).

        Args:
            tokens: Of the encoder: class token if there is one, then the kept patches in the order of their noise.
            restore: Place of each patch in that order, (N, L); see `masking.Masking`.
        """
        tokens = self.embed(tokens)
        prefix, kept = tokens[:, : self.num_prefix_tokens], tokens[:, self.num_prefix_tokens :]
        N, L = restore.shape
        D = tokens.shape[-1]
        hidden = self.mask_token.expand(N, L - kept.shape[1], D).to(tokens.dtype)
        patches = torch.cat([kept, hidden], dim=1).gather(1, restore[:, :, None].expand(-1, -1, D))
        return torch.cat([prefix, patches], dim=1)


def _check_sizes(embed_dim: int, depth: int, num_heads: int) -> None:
    name = "recipe.pretraining.decoder"
    for key, value, least in (("embed_dim", embed_dim, 1), ("depth", depth, 0), ("num_heads", num_heads, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{name}.{key}={value} must be a whole number, {least} or more.")
    if embed_dim % 4 or embed_dim % num_heads:  # the position table has four parts
        raise InputError(f"{name}.embed_dim={embed_dim} must be a multiple of 4 and of {name}.num_heads={num_heads}.")
