"""The encoder that several methods share: a Vision Transformer with a class token."""

from __future__ import annotations

from collections.abc import Callable

from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

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
