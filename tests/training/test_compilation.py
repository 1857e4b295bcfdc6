from functools import partial

import pytest
import timm
import torch

from activessf.backbones.convvit import ConvViT
from activessf.backbones.mixmim_transformer import MixMIMTransformer
from activessf.methods.convmae import ConvMAE
from activessf.methods.decoder import PixelDecoder
from activessf.methods.homologous_attention import TopKeys
from activessf.methods.homologous_contrast import HomologousContrast
from activessf.methods.mae import MAE
from activessf.methods.method import SelfSupervisedMethod
from activessf.methods.mixedae import MixedAE
from activessf.methods.mixmim import MixMIM
from activessf.methods.mocov3 import MoCoV3
from activessf.training.compilation import compile_blocks

DECODER = partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2)
NO_BLOCKS = partial(DECODER, depth=0)  # its block is one of those of a Vision Transformer, and compiling takes seconds
VIT = partial(timm.create_model, "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
MIXMIM = partial(MixMIMTransformer, img_size=32, patch_size=8, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])
CONVVIT = partial(ConvViT, img_size=32, patch_size=8, embed_dims=[8, 12, 32], depths=[1, 1, 2], num_heads=2)


def mixedae() -> MixedAE:
    top_keys = partial(TopKeys, counts_self=True, class_tokens_compete=False)
    contrast = partial(HomologousContrast, weight=0.1, temperature=0.25, block=None, projector_dim=None)
    return MixedAE(VIT, NO_BLOCKS, 0.25, "homologous", 1, top_keys, "mixture", "learned", contrast, False)


@pytest.mark.parametrize(
    ("make", "shape", "num_blocks"),
    [
        (lambda: MAE(VIT, DECODER, 0.75, False), (2,), 2 + 1),
        (lambda: ConvMAE(CONVVIT, NO_BLOCKS, 0.75, False), (2,), 4),
        (lambda: MixMIM(MIXMIM, NO_BLOCKS, 0.5, False), (2,), 4),
        (mixedae, (4,), 2),
        (lambda: MoCoV3(VIT, 64, 16, 0.2, 0.99, True), (4, 2), 2 * 2),
    ],
    ids=["mae", "convmae", "mixmim", "mixedae", "mocov3"],
)
def test_compiled_blocks_give_the_loss_and_gradients_of_eager_ones(make, shape, num_blocks) -> None:
    images, losses, gradients = torch.randn(*shape, 3, 32, 32, dtype=torch.float64), [], []
    for compiled in (False, True):
        torch.manual_seed(0)
        method: SelfSupervisedMethod = make().double()
        names = set(method.state_dict())
        if compiled:
            assert compile_blocks(method) == num_blocks
            assert set(method.state_dict()) == names
            if isinstance(method, MixedAE):
                assert hasattr(method.restricted_block, "_torchdynamo_orig_callable")
        torch.manual_seed(1)
        loss = method(images, 0.5)
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-8, atol=1e-10)
