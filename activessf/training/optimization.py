"""Optimiser groups and the learning-rate schedule (paper III.B)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from pytorch_lightning import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from timm.models import group_parameters
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

# timm's mark for "belongs to the group before it".
_WITH_PREVIOUS = (99999,)


@dataclass(frozen=True)
class Optimization:
    """How one stage of training is optimised.

    Attributes:
        optimizer: Makes the optimiser of parameter groups, e.g. a partial `torch.optim.AdamW`.
        base_lr: Learning rate of a global batch of 256.
        batch_size: Global batch: devices x images per device x accumulated batches.
        weight_decay: Of weights; biases and other vectors have none, unless `decay_vectors`.
        layer_decay: Factor by which the learning rate falls from layer to layer towards the input; 1 = none.
        min_lr: Learning rate at the end of the cosine, of the top layer.
        warmup_steps: Optimiser steps of linear warm-up from 0.
        total_steps: Optimiser steps in all.
        decay_vectors: Whether weight decay is of vectors too (the published MoCo v3).
    """

    optimizer: Callable[..., Optimizer]
    base_lr: float
    batch_size: int
    weight_decay: float
    layer_decay: float
    min_lr: float
    warmup_steps: int
    total_steps: int
    decay_vectors: bool = False

    @property
    def peak_lr(self) -> float:
        """Learning rate of the top layer after the warm-up: base_lr x batch / 256 (paper III.B)."""
        return scaled_lr(self.base_lr, self.batch_size)

    def configure(
        self,
        encoder: nn.Module,
        others: Iterable[tuple[str, nn.Parameter]] = (),
        undecayed: Collection[str] = (),
    ) -> dict[str, Any]:
        """Optimiser and schedule, in the form that a LightningModule's `configure_optimizers` returns.

        Args:
            encoder: Its layers have decayed learning rates.
            others: Named parameters of what stands on the encoder (decoder, projector); they have the full rate.
            undecayed: Names of encoder tensors without weight decay besides vectors.
        """
        groups = parameter_groups(
            encoder, others, self.peak_lr, self.weight_decay, self.layer_decay, undecayed, self.decay_vectors
        )
        optimizer = self.optimizer(groups, lr=self.peak_lr)
        floor = self.min_lr / self.peak_lr
        schedule = LambdaLR(optimizer, lambda step: lr_factor(step, self.warmup_steps, self.total_steps, floor))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def scaled_lr(base_lr: float, batch_size: int) -> float:
    """Base learning rate x global batch / 256 (paper III.B)."""
    return base_lr * batch_size / 256


def top_learning_rate(module: LightningModule) -> float:
    """Learning rate of the top layer in the step that a module is training."""
    optimizer = module.optimizers()
    assert isinstance(optimizer, LightningOptimizer)
    return max(float(group["lr"]) for group in optimizer.param_groups)


def lr_factor(step: int, warmup_steps: int, total_steps: int, floor: float = 0.0) -> float:
    """Learning rate before optimiser step `step` (from 0), as a share of its peak.

    Linear from 0 over the warm-up, then half a cosine down to `floor`. The first step of a warm-up has rate 0, as in
    the published code.

    Args:
        step: Steps done.
        warmup_steps: Length of the warm-up.
        total_steps: Length of the whole training.
        floor: Share that is left at the end, 0-1.
    """
    if step < warmup_steps:
        return step / warmup_steps
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


def parameter_groups(
    encoder: nn.Module,
    others: Iterable[tuple[str, nn.Parameter]],
    lr: float,
    weight_decay: float,
    layer_decay: float,
    undecayed: Collection[str] = (),
    decay_vectors: bool = False,
) -> list[dict[str, Any]]:
    """Parameters that train, grouped by learning rate and weight decay.

    A layer has the rate lr x layer_decay^(N - id): id 0 is the stem, 1 .. N-1 are the blocks, N is what comes after
    them (last norm, head, and all `others`). A network whose published rule has another N gives it as its attribute
    `full_rate_layer`.

    Args:
        encoder: A timm network, or one that behaves as such.
        others: Named parameters at the full rate.
        lr: Rate of the top layer.
        weight_decay: Of tensors with two dimensions and more.
        layer_decay: In (0, 1].
        undecayed: Names of encoder tensors without weight decay, whatever their dimensions.
        decay_vectors: Whether tensors of one dimension have weight decay too.

    Raises:
        ValueError: A layer_decay outside (0, 1].
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay={layer_decay} must lie in (0, 1]")
    ids = layer_ids(encoder)
    top = int(getattr(encoder, "full_rate_layer", max(ids.values())))
    named = [(ids[name], name in undecayed, parameter) for name, parameter in encoder.named_parameters()]
    named += [(top, False, parameter) for _, parameter in others]
    groups: dict[tuple[int, float], dict[str, Any]] = {}
    for layer, exempt, parameter in named:
        if parameter.requires_grad:
            decay = 0.0 if exempt or parameter.ndim <= 1 and not decay_vectors else weight_decay
            rate = lr * layer_decay ** (top - layer)
            group = groups.setdefault((layer, decay), {"params": [], "lr": rate, "weight_decay": decay})
            group["params"].append(parameter)
    return list(groups.values())


def layer_ids(encoder: nn.Module) -> dict[str, int]:
    """Layer of every parameter of a timm network, by name: 0 the stem, then the blocks, last what follows them.

    timm's `group_matcher` tells them apart. It counts the norm after the blocks to the last block; the published
    layer-decay rule (MAE) counts it to what follows, and so does this.
    """
    matcher: dict[str, Any] = dict(encoder.group_matcher(coarse=False))  # type: ignore[operator]
    if not isinstance(matcher["blocks"], str):
        matcher["blocks"] = [pair for pair in matcher["blocks"] if pair[1] != _WITH_PREVIOUS]
    ids: dict[str, int] = group_parameters(encoder, matcher, reverse=True)
    return ids
