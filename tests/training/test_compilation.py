from functools import partial

import pytest
import timm
import torch

from activessf.backbones.mixmim_transformer import MixMIMTransformer
from activessf.methods.decoder import PixelDecoder
from activessf.methods.mae import MAE
from activessf.methods.method import SelfSupervisedMethod
from activessf.methods.mixmim import MixMIM
from activessf.training.compilation import compile_blocks

DECODER = partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2)
VIT = partial(timm.create_model, "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
MIXMIM = partial(MixMIMTransformer, img_size=32, patch_size=8, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])


@pytest.mark.parametrize(
    ("make", "num_blocks"),
    [
        (lambda: MAE(VIT, DECODER, 0.75, False), 2 + 1),
        (lambda: MixMIM(MIXMIM, DECODER, 0.5, False), 4 + 1),
    ],
)
def test_compiled_blocks_give_the_loss_and_gradients_of_eager_ones(make, num_blocks) -> None:
    images, losses, gradients = torch.randn(2, 3, 32, 32), [], []
    for compiled in (False, True):
        torch.manual_seed(0)
        method: SelfSupervisedMethod = make()
        names = set(method.state_dict())
        if compiled:
            assert compile_blocks(method) == num_blocks
            assert set(method.state_dict()) == names
        torch.manual_seed(1)
        loss = method(images, 0.5)
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-5)
