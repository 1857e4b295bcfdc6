"""Attention of each token to some others only: to those that look homologous, or to those that are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from timm.models.vision_transformer import Attention, Block
from torch import Tensor

# Of logits (N, heads, T, T), whether each query (row) sees each key (column), in a shape that broadcasts to theirs.
Visibility = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TopKeys:
    """Homologous attention (MixedAE, arXiv 2303.17152): each query of a head sees the keys with the largest logits.

    Attributes:
        num_keys: How many; all if there are fewer.
        num_class_tokens: Class tokens that stand before the patches.
        counts_self: Whether a token competes for its own sight; if not, it sees itself besides the others.
        class_tokens_compete: Whether class tokens are like any others; if not, they see all and are seen by all
            besides the others.
    """

    num_keys: int
    num_class_tokens: int
    counts_self: bool
    class_tokens_compete: bool

    def __call__(self, logits: Tensor) -> Tensor:
        """What is visible, (N, heads, T, T)."""
        first = 0 if self.class_tokens_compete else self.num_class_tokens
        own = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
        competing = logits if self.counts_self else logits.masked_fill(own, -torch.inf)
        competing = competing[..., first:]
        chosen = competing.topk(min(self.num_keys, competing.shape[-1]), dim=-1).indices + first
        visible = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, chosen, True)
        visible[..., :first] = True
        visible[..., :first, :] = True
        return visible if self.counts_self else visible | own


@dataclass(frozen=True)
class SameSource:
    """Each query sees the keys of its own source, which it can't know: what homologous attention is to find.

    Attributes:
        sources: Source of every token, (N, T); -1 for one that sees all and is seen by all.
    """

    sources: Tensor

    def __call__(self, logits: Tensor) -> Tensor:
        """What is visible, (N, 1, T, T)."""
        queries, keys = self.sources[:, None, :, None], self.sources[:, None, None, :]
        return (queries == keys) | (queries < 0) | (keys < 0)


def restricted_block(block: Block, tokens: Tensor, visible: Visibility) -> Tensor:
    """Output, (N, T, D), of a timm transformer block whose attention is restricted, of tokens (N, T, D)."""
    attended = restricted_attention(block.attn, block.norm1(tokens), visible)
    tokens = tokens + block.drop_path1(block.ls1(attended))
    output: Tensor = tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))
    return output


def restricted_attention(attention: Attention, tokens: Tensor, visible: Visibility) -> Tensor:
    """Output, (N, T, D), of timm's attention where each query sees some keys only: the others' logits are -inf.

    Args:
        attention: Its weights and sizes.
        tokens: (N, T, D).
        visible: Which keys a query sees.
    """
    N, T, D = tokens.shape
    qkv = attention.qkv(tokens).reshape(N, T, 3, attention.num_heads, attention.head_dim)
    queries, keys, values = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (N, heads, T, head_dim) each
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    # Explicit, for a fused kernel would compute the logits a second time.
    logits = attention.scale * queries @ keys.transpose(-2, -1)
    mask = visible(logits.detach())  # which keys are seen is no smooth choice
    attended = attention.attn_drop(logits.masked_fill(~mask, -torch.inf).softmax(dim=-1)) @ values
    output: Tensor = attention.proj_drop(attention.proj(attended.transpose(1, 2).reshape(N, T, D)))
    return output
