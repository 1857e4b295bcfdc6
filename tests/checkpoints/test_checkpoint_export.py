import json

import pytest
import small
import timm
import torch
from safetensors.torch import load_file, save_file

from activessf.checkpoints.export import main

VIT = {
    "name": "vit_mini", "_target_": "timm.create_model", "_partial_": True, "model_name": "vit_tiny_patch16_224",
    "pretrained": False, "checkpoint": "abc", "img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2,
    "num_heads": 2,
}  # fmt: skip
RESNET = {"name": "resnet18", "_target_": "timm.create_model", "model_name": "resnet18", "pretrained": False}
CONVVIT = {
    "name": "convvit_mini", "_target_": "activessf.backbones.convvit.ConvViT", "_partial_": True, "pretrained": False,
    "img_size": 32, "patch_size": 8, "embed_dims": [8, 16, 32], "depths": [1, 1, 2], "num_heads": 2,
}  # fmt: skip


def encoder_folder(folder, network, backbone):
    folder.mkdir()
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()}, folder / "encoder.safetensors"
    )
    (folder / "inputs.json").write_text(json.dumps({"backbone": backbone}))
    return folder


def run_folder(folder, network, backbone, classes):
    folder.mkdir()
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()}, folder / "network.safetensors"
    )
    settings = {f"backbone.{key}": value for key, value in backbone.items()}
    (folder / "run.json").write_text(json.dumps({"settings": settings, "classes": classes}))
    return folder


def exported(capsys, folder, output, *more):
    assert main([str(folder), "--output", str(output), *more]) == 0
    return capsys.readouterr().out.splitlines()


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["encoder", "classifier", "resnet"])
def test_the_printed_line_gives_the_network_by_timm(kind, tmp_path, capsys):
    if kind == "encoder":
        network = small.vit(seed=1)
        folder = encoder_folder(tmp_path / "a", network, VIT)
    elif kind == "classifier":
        network = small.vit(seed=1, num_classes=3, global_pool="avg")
        folder = run_folder(tmp_path / "a", network, VIT, ["x", "y", "z"])
    else:
        network = small.drawn(timm.create_model("resnet18", num_classes=2), 1)
        folder = run_folder(tmp_path / "a", network, RESNET, ["x", "y"])
    lines = exported(capsys, folder, tmp_path / "out" / "a.safetensors")
    assert lines[-1].startswith("timm.create_model('") and "checkpoint_path=" in lines[-1]
    loaded = eval(lines[-1], {"timm": timm}).eval()
    assert torch.equal(loaded(small.images()), network(small.images()))
    assert ("Outputs: x, y" in "\n".join(lines)) == (kind != "encoder")
    assert ("32 x 32 pixels" in lines[0]) == (kind != "resnet")


def test_what_timm_lacks_keeps_its_published_names_and_says_so(tmp_path, capsys):
    network = small.convmae(seed=1).encoder
    folder = encoder_folder(tmp_path / "a", network, CONVVIT)
    lines = exported(capsys, folder, tmp_path / "a.safetensors")
    assert "timm has no ConvViT" in "\n".join(lines)
    assert small.same(load_file(tmp_path / "a.safetensors"), dict(network.state_dict()))


def test_a_file_is_replaced_only_if_asked(tmp_path, capsys):
    folder, output = encoder_folder(tmp_path / "a", small.vit(seed=1), VIT), tmp_path / "a.safetensors"
    output.write_bytes(b"precious")
    assert main([str(folder), "--output", str(output)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and "add --overwrite" in told and output.read_bytes() == b"precious"
    exported(capsys, folder, output, "--overwrite")
    assert small.same(load_file(output), dict(small.vit(seed=1).state_dict()))


def test_what_can_not_be_exported_is_said_and_leaves_no_file(tmp_path, capsys):
    folder = encoder_folder(tmp_path / "a", small.vit(seed=1), {**VIT, "depth": 3})
    for where, output, words in (
        (folder, "a.safetensors", "don't fit VisionTransformer"),
        (tmp_path, "a.safetensors", "neither network.safetensors nor encoder.safetensors"),
        (folder, "a.pth", "must end in .safetensors"),
    ):
        assert main([str(where), "--output", str(tmp_path / output)]) == 2
        assert words in capsys.readouterr().err and not (tmp_path / output).exists()
    named = encoder_folder(tmp_path / "b", small.vit(seed=1), {**VIT, "_target_": "os.system"})
    assert main([str(named), "--output", str(tmp_path / "b.safetensors")]) == 2
    assert "is no network of timm" in capsys.readouterr().err


def test_the_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "outputs/stages/pretraining/NAME" in text and "examples:" in text and "backbone.checkpoint=FILE" in text
