"""The contrast of the cells of a mixture: those of one image are to be alike (MixedAE, arXiv 2303.17152)."""

from __future__ import annotations

import torch
from timm.layers import Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from activessf.errors import InputError


class HomologousContrast(nn.Module):
    """How badly the cells of a mixture tell those of their own image from the others.

    Args:
        embed_dim: Width of the encoder's tokens.
        weight: Share of this loss, lambda; the other's is 1. 0 = left out.
        temperature: Divides the cosines of tokens, tau.
        block: Number of the encoder block, from 0, whose output is compared; None = the encoder's, after its last norm.
        projector_dim: Width of a perceptron of two layers through which the tokens go first; None = as they are.

    Raises:
        InputError: A number is out of its range.
    """

    def __init__(
        self, embed_dim: int, *, weight: float, temperature: float, block: int | None, projector_dim: int | None
    ) -> None:
        super().__init__()
        if not weight >= 0:
            raise InputError(f"ssl_method.method.contrast.weight={weight} must be 0 or more.")
        if not temperature > 0:
            raise InputError(f"ssl_method.method.contrast.temperature={temperature} must be above 0.")
        self.weight = weight
        self.temperature = temperature
        self.block = block
        self.projector = nn.Identity() if projector_dim is None else Mlp(embed_dim, projector_dim, projector_dim)

    def forward(self, cells: Tensor, sources: Tensor) -> Tensor:
        """The loss, a scalar; without its weight.

        Args:
            cells: Tokens of mixtures without their class tokens, (G, L, D).
            sources: Image of its group that each is of, (G, L).
        """
        return supervised_contrast(self.projector(cells), sources, self.temperature)


def supervised_contrast(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss (Khosla et al., arXiv 2004.11362, Eq. 2) within each group, a scalar.

    Of every feature, minus the mean log-probability of the others of its label among all others of its group, where
    probabilities are a softmax of cosines over the temperature; then the mean over features and groups.

    Args:
        features: (G, L, d).
        labels: (G, L), each at least twice in its group.
        temperature: tau.
    """
    # 32 bits at least: cosines over a small temperature have few digits in 16.
    directions = F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)
    logits = directions @ directions.transpose(1, 2) / temperature  # (G, L, L)
    own = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
    log_probabilities = logits - logits.masked_fill(own, -torch.inf).logsumexp(dim=-1, keepdim=True)
    positive = (labels[:, :, None] == labels[:, None, :]) & ~own
    return -((log_probabilities * positive).sum(dim=-1) / positive.sum(dim=-1)).mean()
