"""Batch normalisation over the images of all processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
        # Statistics of 16-bit features are taken in 32 bits, as PyTorch's own are.
        features = input.to(torch.promote_types(input.dtype, torch.float32))
        count = summed(features.new_tensor([float(len(features))]))
        mean = summed(features.sum(dim=0)) / count
        # About the mean: a difference of means of squares would cancel where the mean is large.
        deviations = features - mean
        variance = summed(deviations.square().sum(dim=0)) / count
        self._track(mean.detach(), variance.detach(), count)
        output = deviations * (variance + self.eps).rsqrt()
        if self.affine:
            output = output * self.weight + self.bias
        return output.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics towards the batch's, its variance unbiased over the global batch."""
        assert self.momentum is not None and self.num_batches_tracked is not None
        assert self.running_mean is not None and self.running_var is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), self.momentum)
