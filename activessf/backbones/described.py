"""Networks made from the `backbone` settings that a result's files tell of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import timm
from torch import nn

from activessf.backbones.convvit import ConvViT
from activessf.backbones.mixmim_transformer import MixMIMTransformer
from activessf.errors import InputError

_NO_ARGUMENTS = ("name", "_target_", "_partial_", "pretrained", "checkpoint")
# What a file may name besides networks of timm.
_OWN_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "activessf.backbones.convvit.ConvViT": ConvViT,
    "activessf.backbones.mixmim_transformer.MixMIMTransformer": MixMIMTransformer,
}


def is_of_timm(settings: Mapping[str, Any]) -> bool:
    """Whether the settings are of a network of timm.

    Raises:
        InputError: They are of no network that can be made here.
    """
    target, model_name = str(settings.get("_target_")), str(settings.get("model_name"))
    if target in _OWN_NETWORKS:
        return False
    if target != "timm.create_model" or not timm.is_model(model_name):
        raise InputError(f"The backbone {target} {model_name!r} is no network of timm.")
    return True


def arguments_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are arguments of what makes the network; for timm's, `model_name` is one of them."""
    return {key: value for key, value in settings.items() if key not in _NO_ARGUMENTS}


def described_network(settings: Mapping[str, Any], **arguments: Any) -> nn.Module:
    """The network that a configuration's `backbone` describes; nothing else is called, whatever a file says.

    Args:
        settings: The configuration's `backbone`.
        **arguments: Further arguments: `num_classes`, `global_pool`.

    Raises:
        InputError: They describe no network that can be made here.
    """
    make = timm.create_model if is_of_timm(settings) else _OWN_NETWORKS[str(settings["_target_"])]
    network: nn.Module = make(**arguments_of(settings), **arguments)
    return network
