from functools import partial

import pytest
import timm
import torch
from pytorch_lightning import Trainer
from torch.nn import functional as F

from activessf.backbones.mixmim_transformer import MixMIMTransformer
from activessf.training.attention import attend_explicitly, choose_attention, slow_when_fused

NETWORK = partial(
    timm.create_model, "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2
)


def test_explicit_attention_computes_the_same_without_the_fused_kernel(monkeypatch) -> None:
    torch.manual_seed(0)
    network, images = NETWORK(num_classes=3).double(), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    fused = network(images)
    assert attend_explicitly(network) == 2
    monkeypatch.delattr(F, "scaled_dot_product_attention")  # the fused kernel is not even at hand
    torch.testing.assert_close(network(images), fused, rtol=1e-12, atol=1e-12)
    assert attend_explicitly(network) == 0


def test_window_attention_computes_the_same_without_the_fused_kernel(monkeypatch) -> None:
    torch.manual_seed(0)
    network = MixMIMTransformer(
        img_size=32, patch_size=8, embed_dim=8, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4], num_classes=0
    ).double()
    images, cells = torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.tensor([[True, False], [False, True]])
    fused = network.encode(network.patch_embed(images), cells)
    assert attend_explicitly(network) == 5
    monkeypatch.delattr(F, "scaled_dot_product_attention")
    explicit = network.encode(network.patch_embed(images), cells)
    torch.testing.assert_close(explicit, fused, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("device", "precision", "slow"),
    [("cpu", "bf16-mixed", True), ("cpu", "32-true", False), ("cuda", "bf16-mixed", False), ("cpu", "16-mixed", False)],
)
def test_only_bfloat16_on_a_cpu_goes_without_the_fused_kernel(device, precision, slow) -> None:
    assert slow_when_fused(torch.device(device), precision) is slow


@pytest.mark.parametrize(("precision", "switched"), [("bf16-mixed", 2), ("32-true", 0)])
def test_a_trainer_tells_which_attention_is_taken(precision, switched) -> None:
    trainer = Trainer(accelerator="cpu", precision=precision, logger=False, enable_checkpointing=False)
    assert choose_attention(NETWORK(), trainer) == switched
