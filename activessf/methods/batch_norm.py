"""Batch normalisation over the images of all processes."""

from __future__ import annotations

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from activessf.errors import InputError
from activessf.methods.distributed import num_processes, summed


class GlobalBatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation of features (N, C) by the global batch, that of all processes together.

    In a training of one process it is `nn.BatchNorm1d`, whose arguments and names it has. Outputs, gradients (once
    averaged over the processes) and running statistics of several processes equal those of one that has all images.
    `nn.SyncBatchNorm` does the same, but on GPUs only.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalised features, (N, C), and the running statistics updated if the module is in training mode."""
        if not self.training or num_processes() == 1:
            output: Tensor = super().forward(input)
            return output
        return _normalised(self, input)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """The same of maps (N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """See `GlobalBatchNorm1d`."""
        if not self.training or num_processes() == 1:
            output: Tensor = super().forward(input)
            return output
        return _normalised(self, input)


class GlobalBatchNormAct2d(BatchNormAct2d):  # type: ignore[misc]  # timm is untyped
    """The same of timm's normalisation of maps with an activation after it."""

    def forward(self, x: Tensor) -> Tensor:
        """See `GlobalBatchNorm1d`."""
        if not self.training or num_processes() == 1:
            output: Tensor = super().forward(x)
            return output
        output = self.act(self.drop(_normalised(self, x)))
        return output


_GLOBAL: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: GlobalBatchNorm1d,
    nn.BatchNorm2d: GlobalBatchNorm2d,
    BatchNormAct2d: GlobalBatchNormAct2d,
}


def normalise_together(network: nn.Module) -> None:
    """Let every batch normalisation of a network be by the global batch, in place; its weights stay what they are.

    Raises:
        InputError: It has one of a kind that can't.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, tuple(_GLOBAL.values())):
            if type(module) not in _GLOBAL:
                raise InputError(
                    f"A network with {type(module).__name__} can't be trained on several devices; use "
                    "trainer.devices=1."
                )
            module.__class__ = _GLOBAL[type(module)]  # type: ignore[assignment]  # of the same attributes: only `forward` differs


def _normalised(norm: _BatchNorm, input: Tensor) -> Tensor:
    """Features (N, C, ...) normalised by the batch of all processes, whose statistics the norm keeps track of."""
    # Statistics of 16-bit features are taken in 32 bits, as PyTorch's own are.
    features = input.to(torch.promote_types(input.dtype, torch.float32))
    others = [axis for axis in range(input.ndim) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(input.ndim)]
    count = summed(features.new_tensor([features.numel() / features.shape[1]]))
    mean = summed(features.sum(dim=others)) / count
    # About the mean: a difference of means of squares would cancel where the mean is large.
    deviations = features - mean.view(shape)
    variance = summed(deviations.square().sum(dim=others)) / count
    _track(norm, mean.detach(), variance.detach(), count)
    output = deviations * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        output = output * norm.weight.view(shape) + norm.bias.view(shape)
    return output.to(input.dtype)


@torch.no_grad()
def _track(norm: _BatchNorm, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """Move the running statistics towards the batch's, its variance unbiased over the global batch."""
    assert norm.momentum is not None and norm.num_batches_tracked is not None
    assert norm.running_mean is not None and norm.running_var is not None
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
    norm.running_var.lerp_((variance * count / (count - 1)).to(norm.running_var.dtype), norm.momentum)
