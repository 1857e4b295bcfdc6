"""The normalised classifier of LDAM against cosines of scikit-learn and the published loss by hand."""

import math

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from activessf.backbones.convvit import ConvViT
from activessf.backbones.mixmim_transformer import MixMIMTransformer
from activessf.errors import InputError
from activessf.training.cosine_classifier import CosineClassifier, classify_by_cosine
from activessf.training.losses import LDAMLoss

NETWORKS = {
    "vit": lambda: timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=16, embed_dim=16, depth=1, num_heads=2, num_classes=3,
        global_pool="avg",
    ),
    "convvit": lambda: ConvViT(32, 8, [8, 8, 16], [1, 1, 1], 2, num_classes=3, global_pool="avg"),
    "mixmim": lambda: MixMIMTransformer(
        img_size=32, patch_size=16, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], num_classes=3
    ),
    "resnet18": lambda: timm.create_model("resnet18", num_classes=3),
    "resnetv2_50": lambda: timm.create_model("resnetv2_50", num_classes=3),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_of_every_family_are_scaled_cosines_of_its_features(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    before = {key for key, _ in network.named_parameters()}
    classify_by_cosine(network, 30.0)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        logits = network(images).numpy()
        features = network.forward_head(network.forward_features(images), pre_logits=True).flatten(1).numpy()
    (weight,) = [key for key, _ in network.named_parameters() if key.split(".")[0] in ("head", "fc")]
    assert weight in before and before - {key for key, _ in network.named_parameters()} == {weight[:-6] + "bias"}
    assert logits == pytest.approx(30 * cosine_similarity(features, network.state_dict()[weight].numpy()), abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_lengths_of_features_and_weights_make_no_difference(seed: int, one: float, other: float) -> None:
    torch.manual_seed(seed)
    classifier, features = CosineClassifier(7, 4, 30.0), torch.randn(5, 7)
    logits = classifier(features).detach().clone()
    assert logits.abs().max() <= 30.001
    with torch.no_grad():
        classifier.weight *= other
    assert torch.allclose(classifier(one * features), logits, atol=1e-3)


def test_with_it_the_loss_is_the_published_one() -> None:
    """Margins C / n^(1/4) off the target's cosine, C such that the largest is 0.5; all times 30 (Cao 2019, Eq. 13)."""
    counts, targets = [81, 16, 1], [0, 1, 2, 1]
    torch.manual_seed(1)
    classifier, features = CosineClassifier(5, 3, 30.0), torch.randn(4, 5)
    expected = 0.0
    for row, target in zip(features.tolist(), targets, strict=True):
        cosines = [
            sum(a * b for a, b in zip(row, weight, strict=True)) / math.hypot(*row) / math.hypot(*weight)
            for weight in classifier.weight.tolist()
        ]
        cosines[target] -= 0.5 / counts[target] ** 0.25
        expected -= math.log(math.exp(30 * cosines[target]) / sum(math.exp(30 * value) for value in cosines)) / 4
    loss = LDAMLoss(counts, max_margin=0.5, scale=30.0, reweight_from=0.8, beta=0.9999)
    assert loss(classifier(features), torch.tensor(targets)).item() == pytest.approx(expected, rel=1e-4)


def test_first_weights_have_length_one_and_point_everywhere() -> None:
    torch.manual_seed(0)
    weight = CosineClassifier(3, 4000, 1.0).weight.detach().numpy()
    assert np.linalg.norm(weight, axis=1) == pytest.approx(np.ones(4000), abs=1e-5)
    assert np.abs(weight.mean(axis=0)).max() < 0.04


def test_networks_and_scales_that_do_not_fit_are_one_sentence() -> None:
    two = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=0)
    with pytest.raises(InputError, match="no single linear classifier"):
        classify_by_cosine(two, 30.0)
    with pytest.raises(InputError, match=r"loss\.scale=0 must be above 0"):
        classify_by_cosine(timm.create_model("resnet18", num_classes=3), 0)
