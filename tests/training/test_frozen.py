from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from watched import pictures, runner

from activessf.backbones.convvit import ConvViT
from activessf.data.augmentations import WholeView
from activessf.data.datasets import ImageFiles
from activessf.training.classifiers import NearestNeighbours
from activessf.training.frozen import Embedding, classify_frozen

SIZE = 32


def vit() -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"img_size": SIZE, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes).eval()


@torch.inference_mode()
def test_features_are_the_mean_patch_token_or_the_class_token_behind_the_encoders_norm():
    encoder, images = vit(), torch.randn(2, 3, SIZE, SIZE)
    tokens = encoder.norm(encoder.blocks(encoder.norm_pre(encoder._pos_embed(encoder.patch_embed(images)))))
    found = {pool: Embedding(encoder, pool).predict_step((images, None), 0) for pool in ("avg", "token")}
    torch.testing.assert_close(found["token"], tokens[:, 0])
    torch.testing.assert_close(found["avg"], tokens[:, 1:].sum(dim=1) / 16)
    torch.testing.assert_close(found["token"], encoder(images))  # as timm pools it


@torch.inference_mode()
def test_another_network_has_its_own_pooling():
    network, images = timm.create_model("test_resnet", num_classes=0).eval(), torch.randn(2, 3, SIZE, SIZE)
    assert torch.equal(Embedding(network, "avg").predict_step((images, None), 0), network(images))
    own = ConvViT(SIZE, 8, [8, 8, 16], [1, 1, 1], 2, num_classes=0).eval()
    found = Embedding(own, "avg").predict_step((images, None), 0)
    torch.testing.assert_close(found, own.forward_features(images).sum(dim=1) / 16)


@pytest.fixture
def cells(tmp_path: Path) -> tuple[ImageFiles, ImageFiles]:
    paths = pictures(tmp_path / "cells", 30, seed=1)
    targets = [index % 2 for index in range(30)]
    images = ImageFiles(paths, targets, WholeView(SIZE), seed=0)
    return images.subset(range(20)), images.subset(range(20, 30))


def test_test_cells_get_the_classes_of_training_cells_that_look_like_them(cells, tmp_path):
    training, test = cells
    encoder = vit()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    classifier = NearestNeighbours(5, 0.07)
    found = classify_frozen(Embedding(encoder, "avg"), classifier, training, [""] * 20, test, 3, runner(tmp_path), 8)
    assert found.probabilities.shape == (10, 3) and (found.probabilities[:, 2] == 0).all()
    assert (found.probabilities.argmax(axis=1) == np.array(test.targets)).mean() > 0.7
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    unknown = ImageFiles(test.paths, [0] * 10, test.view, seed=0)  # the test cells' classes have no part
    again = classify_frozen(
        Embedding(encoder, "avg"), classifier, training, [""] * 20, unknown, 3, runner(tmp_path), 3
    )  # fmt: skip
    np.testing.assert_allclose(again.probabilities, found.probabilities, atol=1e-5)
