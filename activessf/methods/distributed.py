"""What the processes of one training exchange; in a training of one process, nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

_alone: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """What this process computes by itself while the others do something else or wait."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def num_processes() -> int:
    """Processes that train together."""
    if _alone.get():
        return 1
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


@torch.no_grad()
def drawn(*shape: int, device: torch.device) -> Tensor:
    """Uniform noise in [0, 1), 32 bits, for the rows of this process.

    Process 0 draws for all, as a single process would for the rows of all: noise, and with it a training, does not
    depend on how many processes share a batch.
    """
    whole = drawn_for_all(num_processes() * shape[0], *shape[1:], device=device)
    return whole.chunk(num_processes())[process_rank()]


@torch.no_grad()
def drawn_for_all(*shape: int, device: torch.device) -> Tensor:
    """Uniform noise in [0, 1), 32 bits, the same in all processes: process 0 draws it."""
    draw = torch.empty if process_rank() else torch.rand
    noise = draw(shape, device=device, dtype=torch.float32)
    if num_processes() > 1:
        dist.broadcast(noise, src=0)
    return noise


def said_by_first(flag: bool, device: torch.device) -> bool:
    """What process 0 says, to all."""
    if num_processes() == 1:
        return flag
    said = torch.tensor([int(flag)], device=device)
    dist.broadcast(said, src=0)
    return bool(said.item())


def greatest(number: int, device: torch.device) -> int:
    """The greatest of the numbers that the processes have, to all."""
    if num_processes() == 1:
        return number
    return int(gathered(torch.tensor([[number]], device=device)).max().item())


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
