from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from activessf.data.images import write_png
from activessf.errors import InputError
from activessf.selection.features import FeatureExtractor, timm_features


def extractor_of(
    model_name: str, checkpoint: Path | str | None = None, packaged: bool = False, **changes: Any
) -> FeatureExtractor:
    settings: dict[str, Any] = {"image_size": 32, "batch_size": 4, "precision": "fp32", "transform": "none"}
    settings |= {"whitened_components": None, "whitening_shrinkage": 0.0} | changes
    return timm_features(model_name, None if checkpoint is None else str(checkpoint), packaged, **settings)


PACKAGED = extractor_of("tf_efficientnet_lite0", packaged=True, image_size=64)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{number}.png" for number in range(7)]
    for number, path in enumerate(files):
        write_png(rng.integers(0, 256, (40 + 5 * number, 60, 3), dtype=np.uint8), path)
    return files


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(timm.create_model("resnet18", num_classes=0).state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def test_features_are_those_of_the_network_on_normalised_images(tmp_path: Path, checkpoint: Path) -> None:
    """Images of the right size already, normalised here by torch with the constants of ImageNet."""
    pixels = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    extractor = extractor_of("resnet18", checkpoint, batch_size=2)
    found = extractor([tmp_path / f"{number}.png" for number in range(3)], 0, "")
    network = timm.create_model("resnet18", num_classes=0).eval()
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    batch = ((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = network(batch)
    assert found.shape == (3, 512) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_features_are_finite_in_order_and_not_normalised(paths: list[Path]) -> None:
    found = PACKAGED(paths, 0, "")
    assert found.shape == (7, 1280) and np.isfinite(found).all()
    lengths = np.linalg.norm(found, axis=1)
    assert lengths.min() > 1.5 and lengths.std() > 0
    np.testing.assert_allclose(PACKAGED(paths[::-1], 0, "")[::-1], found, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_repeat_to_the_bit_for_every_number_of_workers(
    paths: list[Path], checkpoint: Path, precision: str
) -> None:
    extractor = extractor_of("resnet18", checkpoint, precision=precision)
    np.testing.assert_array_equal(extractor(paths, 2, ""), extractor(paths, 0, ""))


@pytest.mark.parametrize("batch_size", [1, 100])
def test_the_batch_size_has_no_influence_but_rounding(paths: list[Path], checkpoint: Path, batch_size: int) -> None:
    base = extractor_of("resnet18", checkpoint)
    found = replace(base, batch_size=batch_size)(paths, 0, "")
    np.testing.assert_allclose(found, base(paths, 0, ""), rtol=1e-4, atol=1e-4)


def test_features_draw_no_random_numbers_of_the_run(paths: list[Path], checkpoint: Path) -> None:
    extractor = extractor_of("resnet18", checkpoint)
    torch.manual_seed(1)
    first = extractor(paths, 0, "")
    torch.manual_seed(2)
    np.testing.assert_array_equal(extractor(paths, 0, ""), first)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.nan, r"broken\.pt holds values that are no finite numbers, in 'layer4\.0\.bn2\.bias'"),
        (3e38, "resnet18 gives features that are not finite"),  # added twice it overflows
    ],
)
def test_weights_and_features_that_are_not_finite_are_refused(
    tmp_path: Path, paths: list[Path], checkpoint: Path, value: float, words: str
) -> None:
    weights = torch.load(checkpoint, weights_only=True)
    weights["layer4.0.bn2.bias"][0] = weights["layer4.1.bn2.bias"][0] = value
    torch.save(weights, tmp_path / "broken.pt")
    extractor = extractor_of("resnet18", tmp_path / "broken.pt")
    with pytest.raises(InputError, match=words):
        extractor(paths, 0, "")


def test_an_unreadable_image_is_named(tmp_path: Path, paths: list[Path]) -> None:
    (tmp_path / "broken.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"broken\.png"):
        PACKAGED([*paths, tmp_path / "broken.png"], 0, "")


# What features are kept under


def test_the_identity_changes_with_all_that_features_depend_on(checkpoint: Path) -> None:
    base = extractor_of("resnet18", checkpoint)
    others = [
        extractor_of("resnet34", checkpoint), extractor_of("resnet18"), extractor_of("resnet18", checkpoint, True),
        replace(base, image_size=64), replace(base, precision="bf16"),
    ]  # fmt: skip
    identities = [base.identity(), *(other.identity() for other in others)]
    assert all(identities.count(identity) == 1 for identity in identities)
    assert replace(base, batch_size=9).identity() == base.identity()
    assert extractor_of("resnet18", checkpoint, transform="l2").identity() == base.identity()


def test_a_checkpoint_counts_by_its_content_wherever_it_stands(tmp_path: Path, checkpoint: Path) -> None:
    before = extractor_of("resnet18", checkpoint).identity()
    (tmp_path / "moved.pt").write_bytes(checkpoint.read_bytes())
    assert extractor_of("resnet18", tmp_path / "moved.pt").identity() == before
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 3] ^= 1
    (tmp_path / "moved.pt").write_bytes(content)
    assert extractor_of("resnet18", tmp_path / "moved.pt").identity() != before


@pytest.mark.parametrize("use", ["identity", "check"])
def test_a_checkpoint_that_is_not_there_is_a_sentence(tmp_path: Path, use: str) -> None:
    extractor = extractor_of("resnet18", tmp_path / "missing.pt")
    with pytest.raises(InputError, match=r"The checkpoint .*missing\.pt is no file"):
        getattr(extractor, use)()


def test_check_passes_where_the_weights_are_at_hand(checkpoint: Path) -> None:
    PACKAGED.check()
    extractor_of("resnet18", checkpoint).check()
    with pytest.raises(InputError, match="'resnet_50' is no model that timm knows; near to it are .*resnet50"):
        extractor_of("resnet_50", checkpoint).check()
    with pytest.raises(InputError, match="takes images of 224 pixels only, not 32; set recipe.feature_image_size=224"):
        extractor_of("vit_tiny_patch16_224", checkpoint).check()
    with pytest.raises(InputError, match="selection.features.precision=half is none of auto, fp32, bf16"):
        extractor_of("resnet18", checkpoint, precision="half").check()


def test_features_in_bf16_point_where_those_in_fp32_do(paths: list[Path], checkpoint: Path) -> None:
    exact = extractor_of("resnet18", checkpoint)(paths, 0, "").astype(float)
    half = extractor_of("resnet18", checkpoint, precision="bf16")(paths, 0, "").astype(float)
    cosines = (exact * half).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(half, axis=1)
    assert cosines.min() >= 0.999 and not np.allclose(exact, half, rtol=1e-5)
