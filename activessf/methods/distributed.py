"""What the processes of one training exchange; in a training of one process, nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def num_processes() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """This process among them, 0 .. num_processes() - 1."""
    return dist.get_rank() if num_processes() > 1 else 0


def summed(values: Tensor) -> Tensor:
    """The sum over the processes of tensors of one shape; its gradient reaches the tensors of all of them."""
    if num_processes() == 1:
        return values
    result: Tensor = _Sum.apply(values)
    return result


@torch.no_grad()
def gathered(rows: Tensor) -> Tensor:
    """Rows (N, d) of all processes, (processes x N, d), in the order of the processes and without gradient."""
    if num_processes() == 1:
        return rows.detach()
    parts = [torch.empty_like(rows) for _ in range(num_processes())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


class _Sum(torch.autograd.Function):
    """A sum over processes: every summand has an equal part in the result that each process gets."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _all_reduced(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _all_reduced(gradients[0])


def _all_reduced(values: Tensor) -> Tensor:
    result = values.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(result)
    return result
