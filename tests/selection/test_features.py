import os
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
from activessf.selection.features import FeatureExtractor

PACKAGED = FeatureExtractor("tf_efficientnet_lite0", None, True, image_size=64, batch_size=4)


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
    extractor = FeatureExtractor("resnet18", str(checkpoint), False, image_size=32, batch_size=2)
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


def test_features_repeat_to_the_bit_for_every_number_of_workers(paths: list[Path]) -> None:
    found = PACKAGED(paths, 0, "")
    np.testing.assert_array_equal(PACKAGED(paths, 0, ""), found)
    np.testing.assert_array_equal(PACKAGED(paths, 2, ""), found)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_batch_size_has_no_influence_but_rounding(paths: list[Path], batch_size: int) -> None:
    found = replace(PACKAGED, batch_size=batch_size)(paths, 0, "")
    np.testing.assert_allclose(found, PACKAGED(paths, 0, ""), rtol=1e-4, atol=1e-4)


def test_features_draw_no_random_numbers_of_the_run(paths: list[Path], checkpoint: Path) -> None:
    extractor = FeatureExtractor("resnet18", str(checkpoint), False, 32, 4)
    torch.manual_seed(1)
    first = extractor(paths, 0, "")
    torch.manual_seed(2)
    np.testing.assert_array_equal(extractor(paths, 0, ""), first)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path, paths: list[Path], checkpoint: Path) -> None:
    weights = torch.load(checkpoint, weights_only=True)
    weights["layer4.1.bn2.bias"][0] = torch.nan
    torch.save(weights, tmp_path / "broken.pt")
    extractor = FeatureExtractor("resnet18", str(tmp_path / "broken.pt"), False, 32, 4)
    with pytest.raises(InputError, match="resnet18 gives features that are not finite"):
        extractor(paths, 0, "")


def test_an_unreadable_image_is_named(tmp_path: Path, paths: list[Path]) -> None:
    (tmp_path / "broken.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"broken\.png"):
        PACKAGED([*paths, tmp_path / "broken.png"], 0, "")


# What features are kept under


def test_the_identity_changes_with_all_that_features_depend_on(checkpoint: Path) -> None:
    extractor = FeatureExtractor("resnet18", str(checkpoint), False, 32, 4)
    changes: list[dict[str, Any]] = [
        {"model_name": "resnet34"}, {"checkpoint": None}, {"packaged": True}, {"image_size": 64},
    ]  # fmt: skip
    identities = [extractor.identity(), *(replace(extractor, **change).identity() for change in changes)]
    assert all(identities.count(identity) == 1 for identity in identities)
    assert replace(extractor, batch_size=9).identity() == extractor.identity()
    assert FeatureExtractor("resnet18", str(checkpoint), False, 32, 4).identity() == extractor.identity()


def test_the_identity_changes_when_the_checkpoint_does(checkpoint: Path) -> None:
    extractor = FeatureExtractor("resnet18", str(checkpoint), False, 32, 4)
    before, status = extractor.identity(), checkpoint.stat()
    os.utime(checkpoint, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    touched = extractor.identity()
    checkpoint.write_bytes(checkpoint.read_bytes() + b"\0")
    os.utime(checkpoint, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert before != touched and before != extractor.identity() != touched


@pytest.mark.parametrize("use", ["identity", "check"])
def test_a_checkpoint_that_is_not_there_is_a_sentence(tmp_path: Path, use: str) -> None:
    extractor = FeatureExtractor("resnet18", str(tmp_path / "missing.pt"), False, 32, 4)
    with pytest.raises(InputError, match=r"The checkpoint .*missing\.pt is no file"):
        getattr(extractor, use)()


def test_check_passes_where_the_weights_are_at_hand(checkpoint: Path) -> None:
    PACKAGED.check()
    FeatureExtractor("resnet18", str(checkpoint), False, 32, 4).check()
    with pytest.raises(InputError, match="is no model that timm knows"):
        FeatureExtractor("resnot", str(checkpoint), False, 32, 4).check()
