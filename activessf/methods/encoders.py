"""The encoder that several methods share: a Vision Transformer with a class token."""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from activessf.errors import InputError


def vision_transformer(backbone: Callable[..., nn.Module], method: str) -> VisionTransformer:
    """The backbone without a classifier, once it is seen to be a Vision Transformer with a class token.

    Args:
        backbone: Makes the encoder: called with `num_classes=0`.
        method: The method's name, for the message.

    Raises:
        InputError: It is another network.
    """
    encoder = backbone(num_classes=0)
    other = _difference(encoder)
    if other:
        raise InputError(
            f"ssl={method} needs a plain Vision Transformer, but the backbone {other}; "
            "use backbone=vit_base, vit_small, vit_tiny or vit_mini."
        )
    assert isinstance(encoder, VisionTransformer)
    return encoder


def class_token(encoder: VisionTransformer, images: Tensor) -> Tensor:
    """The encoder's output, (N, D), of normalised images, (N, 3, H, W): its class token after the norm.

    The same as `encoder(images)`, without what the last block would compute of patches, which nothing looks at.

    Args:
        encoder: See `vision_transformer`.
        images: (N, 3, H, W).
    """
    patches = encoder.patch_embed(images)
    tokens = torch.cat([encoder.cls_token.expand(len(images), -1, -1), patches], dim=1) + encoder.pos_embed
    *blocks, last = encoder.blocks
    for block in blocks:
        tokens = block(tokens)
    output: Tensor = encoder.forward_head(encoder.norm(_first_token(last, tokens)))
    return output


def _first_token(block: Block, tokens: Tensor) -> Tensor:
    """What a block makes of the first token, (N, 1, D), which looks at all of them, (N, T, D)."""
    attended = _first_token_attention(block.attn, block.norm1(tokens))
    token = tokens[:, :1] + block.drop_path1(block.ls1(attended))
    output: Tensor = token + block.drop_path2(block.ls2(block.mlp(block.norm2(token))))
    return output


def _first_token_attention(attention: Attention, tokens: Tensor) -> Tensor:
    N, T, D = tokens.shape
    weight, bias = attention.qkv.weight, attention.qkv.bias
    of_query, of_others = (None, None) if bias is None else (bias[:D], bias[D:])
    query = F.linear(tokens[:, :1], weight[:D], of_query).view(N, 1, attention.num_heads, -1).transpose(1, 2)
    others = F.linear(tokens, weight[D:], of_others).view(N, T, 2, attention.num_heads, -1)
    keys, values = others.permute(2, 0, 3, 1, 4).unbind(0)  # (N, heads, T, head_dim) each
    dropout = attention.attn_drop.p if attention.training else 0.0
    attended = F.scaled_dot_product_attention(
        attention.q_norm(query), attention.k_norm(keys), values, dropout_p=dropout
    )
    output: Tensor = attention.proj_drop(attention.proj(attended.transpose(1, 2).reshape(N, 1, D)))
    return output


def _difference(encoder: nn.Module) -> str:
    """In what a network differs from the published encoders; "" = in nothing that the methods would trip over."""
    if not isinstance(encoder, VisionTransformer):
        return f"is a {type(encoder).__name__}"
    if encoder.cls_token is None or encoder.global_pool != "token":
        return "has no class token"
    if encoder.num_prefix_tokens != 1:
        return f"has {encoder.num_prefix_tokens - 1} more tokens (registers, distillation) before the patches"
    if encoder.pos_embed is None or encoder.no_embed_class:
        return "has no position for its class token"
    if not isinstance(encoder.norm_pre, nn.Identity):
        return "has a norm before its blocks"
    patches = encoder.patch_embed
    if not isinstance(patches, PatchEmbed) or encoder.dynamic_img_size:
        return "has no fixed grid of patches"
    if patches.patch_size[0] != patches.patch_size[1] or patches.proj.bias is None:
        return "has patches that are not square, or their projection has no bias"
    return ""
