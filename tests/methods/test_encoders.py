import pytest
import timm
import torch

from activessf.methods.encoders import class_token


@pytest.mark.parametrize("changes", [{}, {"qkv_bias": False}, {"qk_norm": True, "init_values": 0.5}])
def test_the_class_token_and_its_gradients_are_those_of_the_whole_encoder(changes) -> None:
    torch.manual_seed(0)
    encoder = timm.create_model(
        "vit_base_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=0, **changes
    ).double()
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    found = []
    for compute in (encoder, lambda images: class_token(encoder, images)):
        encoder.zero_grad()
        output = compute(images)
        output.sin().sum().backward()
        found.append([output, *(value.grad for value in encoder.parameters())])
    for whole, token in zip(*found, strict=True):
        torch.testing.assert_close(token, whole, rtol=1e-10, atol=1e-12)


def test_the_last_block_computes_one_token_of_each_image() -> None:
    encoder, seen = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=0), []
    for block in encoder.blocks:
        block.mlp.register_forward_pre_hook(lambda part, given: seen.append(given[0].shape[1]))
    class_token(encoder, torch.randn(2, 3, 32, 32))
    assert seen == [5, 1]
