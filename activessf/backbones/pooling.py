"""One feature vector an image, from whatever encoder."""

from __future__ import annotations

from torch import Tensor, nn


class PooledTokens(nn.Module):
    """What stands for all tokens of a transformer; another network's own pooling.

    Args:
        encoder: A timm network, or one in the manner of timm's, without a classifier.
        pool: "avg", the mean patch token, without class and register tokens; or "token", the class token.
    """

    def __init__(self, encoder: nn.Module, pool: str = "avg") -> None:
        super().__init__()
        self.encoder = encoder
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        """Features, (N, d), of normalised images, (N, 3, H, W)."""
        prefix = getattr(self.encoder, "num_prefix_tokens", None)
        if prefix is None:
            own: Tensor = self.encoder(images)
            return own
        tokens: Tensor = self.encoder.forward_features(images)  # type: ignore[operator]
        return tokens[:, 0] if self.pool == "token" else tokens[:, prefix:].mean(dim=1)
