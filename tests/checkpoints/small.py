"""Small networks and methods with weights that are all different."""

from functools import partial

import timm
import torch

from activessf.backbones.convvit import ConvViT
from activessf.backbones.mixmim_transformer import MixMIMTransformer
from activessf.methods.convmae import ConvMAE
from activessf.methods.decoder import PixelDecoder
from activessf.methods.homologous_attention import TopKeys
from activessf.methods.homologous_contrast import HomologousContrast
from activessf.methods.mae import MAE
from activessf.methods.mixedae import MixedAE
from activessf.methods.mixmim import MixMIM
from activessf.methods.mocov3 import MoCoV3


def vit(image_size=32, seed=0, name="vit_tiny_patch16_224", patch_size=8, **changes):
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 0, **changes}
    return drawn(timm.create_model(name, img_size=image_size, patch_size=patch_size, **sizes), seed)


def dinov2(image_size=56, seed=0, registers=False, **changes):
    name = "vit_small_patch14_reg4_dinov2" if registers else "vit_small_patch14_dinov2"
    return vit(image_size, seed, name, 14, **changes)


def _decoder():
    return partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2)


def mae(image_size=32, seed=0, patch_size=8, decoder=None):
    backbone = partial(
        timm.create_model, "vit_tiny_patch16_224", img_size=image_size, patch_size=patch_size, embed_dim=32, depth=2,
        num_heads=2,
    )  # fmt: skip
    return drawn(MAE(backbone, decoder or _decoder(), 0.75, norm_pix_loss=True), seed)


def mixedae(image_size=32, seed=0):
    backbone = partial(
        timm.create_model, "vit_tiny_patch16_224", img_size=image_size, patch_size=8, embed_dim=32, depth=2, num_heads=2
    )
    top_keys = partial(TopKeys, counts_self=True, class_tokens_compete=False)
    contrast = partial(HomologousContrast, weight=0.1, temperature=0.25, block=None, projector_dim=None)
    method = MixedAE(
        backbone, _decoder(), 0.25, "homologous", 1, top_keys, "mixture", "learned", contrast, norm_pix_loss=False
    )
    return drawn(method, seed)


def convmae(image_size=32, seed=0):
    sizes = {"embed_dims": [8, 16, 32], "depths": [1, 1, 2], "num_heads": 2}
    backbone = partial(ConvViT, img_size=image_size, patch_size=8, **sizes)
    return drawn(ConvMAE(backbone, _decoder(), 0.75, norm_pix_loss=True), seed)


def mixmim(image_size=32, seed=0):
    backbone = partial(
        MixMIMTransformer, img_size=image_size, patch_size=8, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]
    )
    return drawn(MixMIM(backbone, _decoder(), 0.5, norm_pix_loss=True), seed)


def moco(image_size=32, seed=0, **changes):
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, **changes}
    backbone = partial(timm.create_model, "vit_tiny_patch16_224", img_size=image_size, patch_size=8, **sizes)
    return drawn(MoCoV3(backbone, 24, 16, 0.2, 0.99, stop_grad_conv1=True), seed)


def drawn(module, seed):
    """The module with every floating-point tensor of its state drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(0.2 * torch.randn(value.shape, generator=generator))
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
        elif name.endswith("num_batches_tracked"):
            value.fill_(seed + 1)
    return module.eval()


def images(size=32, number=4):
    return torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(9))


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def copied(module):
    return {name: value.clone() for name, value in module.state_dict().items()}
