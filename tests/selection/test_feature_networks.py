import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import save_file

from activessf.backbones.convvit import ConvViT
from activessf.data.datasets import IMAGENET_MEAN, IMAGENET_STD
from activessf.errors import InputError
from activessf.manifests import BOX
from activessf.selection.networks import FeatureNetwork
from activessf.selection.run_networks import FinetunedNetwork, PretrainedEncoder

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
RESNET = {"name": "resnet18", "_target_": "timm.create_model", "_partial_": True, "model_name": "resnet18",
          "pretrained": False}  # fmt: skip
VIT = {**RESNET, "name": "tiny", "model_name": "vit_tiny_patch16_224", "img_size": 32, "patch_size": 8, "depth": 2}
VIT_ARGUMENTS: dict[str, Any] = {"img_size": 32, "patch_size": 8, "depth": 2}
CELLS = pd.DataFrame([["a.png", 0, 0, 9, 9], ["a.png", 5, 0, 9, 9], ["b.png", 0, 0, 9, 9]], columns=["image", *BOX])


def written_run(root: Path, fold: int, network: torch.nn.Module, backbone: dict[str, Any], cells: pd.DataFrame) -> Path:
    """A run's folder as the pipeline leaves it, as far as features look at it."""
    folder = root / "runs" / "made" / f"fold_{fold}"
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / "network.safetensors")
    settings = {f"backbone.{key}": value for key, value in backbone.items()}
    pretraining = None if backbone is RESNET else f"mae-{fold}"
    (folder / "run.json").write_text(json.dumps({"settings": settings, "pretraining": pretraining, "fold": fold}))
    cells.to_csv(folder / "predictions.csv", index=False)
    return folder.parent


def written_encoder(root: Path, fold: int, encoder: torch.nn.Module, backbone: dict[str, Any]) -> Path:
    folder = root / "stages" / "pretraining" / f"mae-{fold}"
    folder.mkdir(parents=True)
    save_file(encoder.state_dict(), folder / "encoder.safetensors")
    (folder / "inputs.json").write_text(json.dumps({"backbone": backbone}))
    return folder / "encoder.safetensors"


def vit(seed: int, **arguments: Any) -> torch.nn.Module:
    torch.manual_seed(seed)
    made: torch.nn.Module = timm.create_model("vit_tiny_patch16_224", **VIT_ARGUMENTS, **arguments)
    return made.eval()


def resnet(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    made: torch.nn.Module = timm.create_model("resnet18", num_classes=4)
    return made.eval()


def test_fine_tuned_features_are_what_the_classifiers_head_sees_in_the_folds_own_run(tmp_path: Path) -> None:
    for fold in (0, 1):
        run = written_run(tmp_path, fold, resnet(fold), RESNET, CELLS)
    for fold in (0, 1):
        loaded = FinetunedNetwork(str(run)).of_fold(fold).load()
        with torch.inference_mode():
            logits = resnet(fold)(IMAGES)
            found = loaded.network(IMAGES)
            head = resnet(fold).get_submodule("fc")
            torch.testing.assert_close(head(found), logits)
        assert found.shape == (2, 512) and (loaded.mean, loaded.std) == (IMAGENET_MEAN, IMAGENET_STD)
    first, second = (FinetunedNetwork(str(run), fold).identity() for fold in (0, 1))
    assert first != second


def test_an_encoders_features_are_its_mean_patch_token_without_the_class_token(tmp_path: Path) -> None:
    encoder = vit(3, num_classes=0)
    path = written_encoder(tmp_path, 0, encoder, VIT)
    with torch.inference_mode():
        tokens = encoder.forward_features(IMAGES)  # type: ignore[operator]
        found = PretrainedEncoder(str(path), None).load().network(IMAGES)
    assert tokens.shape == (2, 17, 192)
    torch.testing.assert_close(found, tokens[:, 1:].sum(dim=1) / 16)


def test_a_convvit_gives_features_as_networks_of_timm_do(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dims": [8, 12, 32], "depths": [1, 1, 1]}
    sizes["num_heads"] = 2
    target = "activessf.backbones.convvit.ConvViT"
    backbone = {"name": "small", "_target_": target, "_partial_": True, "pretrained": False, **sizes}
    encoder = ConvViT(**sizes, num_classes=0).eval()
    network = ConvViT(**sizes, num_classes=4, global_pool="avg").eval()
    path = written_encoder(tmp_path, 0, encoder, backbone)
    run = written_run(tmp_path, 0, network, backbone, CELLS)
    with torch.inference_mode():
        found = PretrainedEncoder(str(path), None).load().network(IMAGES)
        torch.testing.assert_close(found, encoder.forward_features(IMAGES).sum(dim=1) / 16)
        found = FinetunedNetwork(str(run), 0).load().network(IMAGES)
        torch.testing.assert_close(network.head(found), network(IMAGES))


def test_an_encoder_is_found_by_the_run_that_used_it(tmp_path: Path) -> None:
    run = written_run(tmp_path, 2, vit(0, num_classes=4, global_pool="avg"), VIT, CELLS)
    path = written_encoder(tmp_path, 2, vit(3, num_classes=0), VIT)
    by_run = PretrainedEncoder(None, str(run)).of_fold(2)
    assert by_run.identity() == PretrainedEncoder(str(path), None).identity()
    with pytest.raises(InputError, match=r"made has no finished fold 1; train that run with fold=1 first"):
        by_run.of_fold(1).identity()


@pytest.mark.parametrize("kind", [FinetunedNetwork, PretrainedEncoder])
def test_a_run_that_tested_other_cells_is_refused(tmp_path: Path, kind: Any) -> None:
    run = written_run(tmp_path, 0, resnet(0), RESNET, CELLS)
    network: FeatureNetwork = kind(run=str(run), fold=0, **({} if kind is FinetunedNetwork else {"checkpoint": None}))
    network.check_unseen(CELLS.iloc[::-1])  # in whatever order
    for test in (CELLS.iloc[:2], CELLS.assign(x=1), pd.concat([CELLS, CELLS.assign(image="c.png")])):
        with pytest.raises(InputError, match="tested other cells than this fold does"):
            network.check_unseen(test)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="selection.features=finetuned needs selection.features.run=FOLDER"):
        FinetunedNetwork(None, 0).check(32)
    for both in ((None, None), ("a", "b")):
        with pytest.raises(InputError, match="selection.features=ssl_encoder needs one of selection.features.run"):
            PretrainedEncoder(*both).check(32)
    run = written_run(tmp_path, 0, resnet(0), RESNET, CELLS)
    with pytest.raises(InputError, match="was not pretrained, so it has no encoder"):
        PretrainedEncoder(None, str(run), 0).check(32)
    save_file(vit(0).state_dict(), tmp_path / "lone.safetensors")
    with pytest.raises(InputError, match=r"inputs\.json does not exist"):
        PretrainedEncoder(str(tmp_path / "lone.safetensors"), None).check(32)


def test_images_of_another_size_than_the_encoders_are_refused(tmp_path: Path) -> None:
    encoder = PretrainedEncoder(str(written_encoder(tmp_path, 0, vit(0, num_classes=0), VIT)), None)
    encoder.check(32)
    with pytest.raises(InputError, match=r"images of 32 pixels, and 64 are asked for; set selection.features.image_"):
        encoder.check(64)


@pytest.mark.parametrize("change", [{"_target_": "os.system"}, {"model_name": "hf-hub:someone/model"}])
def test_a_run_folder_can_name_nothing_but_a_network_of_timm(tmp_path: Path, change: dict[str, str]) -> None:
    run = written_run(tmp_path, 0, resnet(0), {**RESNET, **change}, CELLS)
    with pytest.raises(InputError, match="is no network of timm"):
        FinetunedNetwork(str(run), 0).load()
