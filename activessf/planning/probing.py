"""Time a step of a network that was never trained here, on made-up images."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

_IMAGES_ON_CPU = 4
_TIMED = 3


def probe_step(
    module: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    view: Tensor,
    batch_size: int,
    multiple: int = 1,
    half: bool = False,
) -> float:
    """Seconds of a forward and backward pass on a batch; loading and the update of the weights are left out.

    On a CPU a few images are timed and the rest is reckoned.

    Args:
        module: What is timed; it is moved to the GPU if there is one, and gradients are left behind.
        loss_of: Something to differentiate, of images as the module takes them.
        view: One normalised image (3, H, W), or its views (2, 3, H, W).
        batch_size: Images of a step.
        multiple: A batch is a multiple of so many images.
        half: Whether it will train in half precision.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    number = batch_size if device.type == "cuda" else min(batch_size, -(-_IMAGES_ON_CPU // multiple) * multiple)
    batch = view.expand(number, *view.shape).contiguous().to(device)
    module.to(device)
    seconds = []
    for _ in range(1 + _TIMED):  # the first pays for starting up
        started = time.monotonic()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = loss_of(batch)
        torch.autograd.backward(loss)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.monotonic() - started)
    return median(seconds[1:]) * batch_size / number
