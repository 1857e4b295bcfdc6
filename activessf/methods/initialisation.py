"""How the published methods draw their first weights."""

from __future__ import annotations

from torch import nn


def initialise_linear_and_norm(module: nn.Module) -> None:
    """Linear layers xavier-uniform over the whole matrix, their biases 0; LayerNorms 1 and 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def initialise_patch_projection(projection: nn.Conv2d) -> None:
    """A patch embedding is a convolution, but drawn like the linear layer that it is; its bias keeps PyTorch's."""
    nn.init.xavier_uniform_(projection.weight.view(projection.weight.shape[0], -1))
