"""A classifier of angles: features and weights have the length 1, so that no class wins by the size of its weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from activessf.errors import InputError
from activessf.pretrained import classifier_prefixes


class CosineClassifier(nn.Module):
    """Logits that are the cosines of features and weights, times a scale; there is no bias.

    As LDAM has it (Cao 2019, arXiv 1906.07413, section 3.2). The first weights are of random directions.

    Args:
        num_features: Length of a feature vector, D.
        num_classes: C.
        scale: Largest logit, above 0.

    Raises:
        InputError: A scale that can't be.
    """

    def __init__(self, num_features: int, num_classes: int, scale: float) -> None:
        super().__init__()
        if not scale > 0:
            raise InputError(f"loss.scale={scale} must be above 0 with loss.normalised_classifier=true.")
        self.scale = scale
        self.weight = nn.Parameter(normalize(torch.randn(num_classes, num_features)))

    def forward(self, features: Tensor) -> Tensor:
        """Logits, (N, C), of features, (N, D) or (N, D, 1, 1)."""
        return self.scale * linear(normalize(features.flatten(1)), normalize(self.weight))


def classify_by_cosine(network: nn.Module, scale: float) -> None:
    """Put a `CosineClassifier` in the place of a network's linear one.

    Args:
        network: A timm network, or one in the manner of timm's, with a classifier.
        scale: See `CosineClassifier`.

    Raises:
        InputError: It has no single linear classifier, or the scale can't be.
    """
    name = next((prefix.removesuffix(".") for prefix in classifier_prefixes(network)), "")
    linear_one = network.get_submodule(name) if name and len(classifier_prefixes(network)) == 1 else None
    if not isinstance(linear_one, nn.Linear | nn.Conv2d):
        raise InputError(
            f"{type(network).__name__} has no single linear classifier, which loss.normalised_classifier=true is to "
            "replace; use loss.normalised_classifier=false."
        )
    num_classes, num_features = linear_one.weight.shape[:2]
    holder, _, own = name.rpartition(".")
    setattr(network.get_submodule(holder), own, CosineClassifier(num_features, num_classes, scale))
