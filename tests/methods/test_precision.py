"""Half precision under autocast, as trainer.precision=bf16-mixed and 16-mixed train."""

import pytest
import torch
from test_convmae import tiny_convmae
from test_mae import tiny_mae
from test_mixedae import tiny_mixedae
from test_mixmim import tiny_mixmim
from test_mocov3 import tiny_moco

METHODS = {
    "mae": (tiny_mae, (8, 3, 32, 32)),
    "convmae": (tiny_convmae, (8, 3, 32, 32)),
    "mixmim": (tiny_mixmim, (8, 3, 48, 48)),
    "mixedae": (tiny_mixedae, (8, 3, 32, 32)),
    "mocov3": (tiny_moco, (8, 2, 3, 32, 32)),
}


def loss_and_gradients(name: str, dtype: torch.dtype | None) -> tuple[float, dict[str, torch.Tensor]]:
    make, shape = METHODS[name]
    method = make().train()
    views = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(4)
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        loss = method(views, 0.5)
    loss.backward()
    return loss.item(), {key: value.grad for key, value in method.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", METHODS)
def test_half_precision_gives_nearly_the_loss_and_gradients_of_single(name: str, dtype: torch.dtype) -> None:
    single, half = loss_and_gradients(name, None), loss_and_gradients(name, dtype)
    assert half[0] == pytest.approx(single[0], rel=0.02)
    assert set(half[1]) == set(single[1])
    assert all(torch.isfinite(value).all() and value.dtype == torch.float32 for value in half[1].values())
    both = [torch.cat([value.flatten() for value in found.values()]) for found in (single[1], half[1])]
    assert torch.cosine_similarity(*both, dim=0) > 0.98
