"""Only the classifier is retrained, and ends where a linear classifier on fixed features ends."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from pytorch_lightning import Trainer
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from activessf.backbones.mixmim_transformer import MixMIMTransformer
from activessf.data.augmentations import WholeView
from activessf.data.class_weights import drawing_weights
from activessf.data.datasets import ImageFiles
from activessf.data.images import write_png
from activessf.pretrained import load_backbone
from activessf.training.finetuning import Finetuning
from activessf.training.optimization import Optimization
from activessf.training.resuming import Checkpoints
from activessf.training.retraining import freeze_backbone, retrain_head
from activessf.training.running import Runner

TARGETS = [0] * 24 + [1] * 12 + [2] * 6
VIT = partial(timm.create_model, "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)


class MeanColour(nn.Module):
    """Three features, so that the best classifier on them is a single one."""

    pretrained_cfg = {"classifier": "head"}

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.head = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) * self.scale

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        return {"stem": r"^scale", "blocks": r"^blocks\.(\d+)"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageFiles:
    """Noise round a colour for each class; the classes overlap."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    paths = []
    for number, target in enumerate(TARGETS):
        colour = np.array([[110, 128, 128], [128, 110, 128], [128, 128, 110]][target]) + rng.normal(0, 25, 3)
        paths.append(folder / f"{number:02}.png")
        write_png((colour + rng.uniform(-20, 20, (32, 32, 3))).clip(0, 255).astype(np.uint8), paths[-1])
    return ImageFiles(paths, TARGETS, WholeView(32), seed=5)


def retrained(
    network: nn.Module, images: ImageFiles, folder: Path, steps: int = 3, batch: int = 16, lr: float = 1e-2
) -> Tensor:
    optimization = Optimization(torch.optim.AdamW, lr * 256 / batch, batch, 0.0, 1.0, 0.0, 0, total_steps=steps)
    module = Finetuning(network, nn.CrossEntropyLoss(), optimization)
    runner = Runner(
        make_trainer=partial(Trainer, accelerator="cpu", devices=1, enable_model_summary=False, log_every_n_steps=1),
        loggers=lambda: [],
        num_workers=0,
        cache_bytes=10**8,
        seed=0,
        failed=folder / "failed",
        checkpoint_minutes=float("inf"),
    )
    folder.mkdir(exist_ok=True)
    drawn = images.weighted(drawing_weights(images.targets, 3, exponent=0.0, beta=None))
    return retrain_head(module, drawn, images, runner, folder, Checkpoints(folder / "checkpoints"))


@pytest.mark.parametrize(
    ("make", "head"),
    [
        (partial(VIT, num_classes=3, global_pool="avg", drop_path_rate=0.5), "head"),
        (partial(timm.create_model, "resnet18", num_classes=3), "fc"),
        (partial(timm.create_model, "resnetv2_50", num_classes=3), "head.fc"),
        (
            partial(
                MixMIMTransformer, img_size=32, patch_size=8, embed_dim=16, depths=[1, 1, 1, 1],
                num_heads=[1, 1, 1, 1], num_classes=3, global_pool="avg",
            ),
            "head",
        ),
    ],
    ids=["vit", "resnet", "resnetv2", "mixmim"],
)  # fmt: skip
def test_nothing_but_the_classifier_changes_running_statistics_neither(make, head, images, tmp_path) -> None:
    torch.manual_seed(0)
    network = make()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    retrained(network, images, tmp_path)
    after = load_file(tmp_path / "network.safetensors")
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {f"{head}.weight", f"{head}.bias"} and set(after) == set(before)
    assert (tmp_path / "history" / "metrics.csv").is_file() and not (tmp_path / "checkpoints").exists()


def test_the_classifier_ends_as_a_logistic_regression_with_balanced_classes(images, tmp_path) -> None:
    torch.manual_seed(0)
    network = MeanColour()
    with torch.no_grad():
        features = network.features(torch.stack([images[0, index][0] for index in range(len(images))])).numpy()
    expected = LogisticRegression(C=np.inf, class_weight="balanced", max_iter=10_000).fit(features, TARGETS)
    found = retrained(network, images, tmp_path, steps=120, batch=128, lr=0.2).numpy()
    assert np.abs(found - expected.predict_proba(features)).max() < 0.05
    natural = LogisticRegression(C=np.inf, max_iter=10_000).fit(features, TARGETS)
    assert np.abs(found - natural.predict_proba(features)).max() > 0.15


def test_a_backbone_is_loaded_without_the_classifier_that_was_trained_with_it() -> None:
    first, other = (VIT(num_classes=3, global_pool="avg") for _ in range(2))
    with torch.no_grad():
        first.head.weight += 1
    own = other.head.weight.clone()
    load_backbone(other, first.state_dict(), "a run")
    assert torch.equal(other.head.weight, own)
    rest = {name: value for name, value in first.state_dict().items() if not name.startswith("head.")}
    assert all(torch.equal(other.state_dict()[name], value) for name, value in rest.items())


def test_a_frozen_network_has_a_gradient_in_its_classifier_alone() -> None:
    network = VIT(num_classes=3, global_pool="avg")
    freeze_backbone(network)
    network(torch.zeros(1, 3, 32, 32)).sum().backward()
    assert {name for name, value in network.named_parameters() if value.grad is not None} == {
        "head.weight",
        "head.bias",
    }
