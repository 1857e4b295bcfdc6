"""The encoder that several methods share: a Vision Transformer with a class token."""

from __future__ import annotations

from collections.abc import Callable

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
    if not isinstance(encoder, VisionTransformer) or encoder.cls_token is None or encoder.global_pool != "token":
        raise InputError(
            f"ssl={method} needs a Vision Transformer, but the backbone is a {type(encoder).__name__}; "
            "use backbone=vit_base, vit_small, vit_tiny or vit_mini."
        )
    return encoder
