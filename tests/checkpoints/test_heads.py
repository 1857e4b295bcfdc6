import json
from functools import partial

import foreign
import pytest
import small
import timm
import torch
from safetensors.torch import load_file, save_file

from activessf.backbones.mixmim_transformer import MixMIMTransformer
from activessf.checkpoints.heads import attention_heads, save_network, told_heads
from activessf.checkpoints.loading import load_encoder, load_method
from activessf.errors import InputError
from activessf.methods.decoder import PixelDecoder


def mixmim_encoder(heads, seed=0):
    network = MixMIMTransformer(
        img_size=32, patch_size=8, embed_dim=16, depths=[1, 1, 2, 1], num_heads=heads, num_classes=0
    )
    return small.drawn(network, seed)


@pytest.mark.parametrize(
    ("network", "heads"),
    [
        (small.vit(num_heads=4), (4, 4)),
        (mixmim_encoder([1, 2, 4, 8]), (1, 2, 4, 4, 8)),
        (timm.create_model("resnet18", num_classes=0), ()),
    ],
)
def test_a_file_has_the_tensors_and_tells_the_heads(network, heads, tmp_path):
    path = tmp_path / "a.safetensors"
    save_network(network, path)
    assert small.same(load_file(path), network.state_dict())
    assert told_heads(path) == attention_heads(network) == heads


def test_equal_networks_are_equal_files(tmp_path):
    files = set()
    for number in range(12):  # entries of metadata are written in an order of chance: one is left for each file
        save_network(small.vit(), tmp_path / f"{number}.safetensors")
        files.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(files) == 1


@pytest.mark.parametrize(
    "told",
    [None, {}, *({"attention_heads": text} for text in ("many", "", "0,0", "4,", "99999999999999,1", "9" * 5000))],
)
def test_a_file_from_elsewhere_tells_none_and_loads(told, tmp_path):
    original, receiver = small.vit(seed=1), small.vit(seed=2)
    save_file(original.state_dict(), tmp_path / "a.safetensors", told)
    assert told_heads(tmp_path / "a.safetensors") == ()
    load_encoder(receiver, tmp_path / "a.safetensors")
    assert small.same(receiver.state_dict(), original.state_dict())


@pytest.mark.parametrize("told", ["3,3", "999,999", "4,2"])
def test_heads_that_the_network_could_not_have_tell_nothing(told, tmp_path):
    original, receiver = small.vit(seed=1), small.vit(seed=2)
    save_file(original.state_dict(), tmp_path / "a.safetensors", {"attention_heads": told})
    load_encoder(receiver, tmp_path / "a.safetensors")
    assert small.same(receiver.state_dict(), original.state_dict())


def test_heads_are_told_by_a_file_of_any_name(tmp_path):
    save_network(small.vit(seed=1, num_heads=4), tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").rename(tmp_path / "a.pth")
    assert told_heads(tmp_path / "a.pth") == (4, 4)
    with pytest.raises(InputError, match="4 attention heads"):
        load_encoder(small.vit(num_heads=2), tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("original", "receiver", "match"),
    [
        (small.vit(seed=1, num_heads=4), small.vit(num_heads=2), r"4 attention heads.*network's 2.*num_heads=4\."),
        (
            small.vit(seed=1, num_heads=4),
            small.vit(num_heads=2, num_classes=3, global_pool="avg"),
            r"\+\+backbone\.num_heads=4\.",
        ),
    ],
    ids=["encoder", "classifier"],
)  # fmt: skip
def test_weights_of_other_heads_are_refused_though_all_tensors_fit(original, receiver, match, tmp_path):
    path, before = tmp_path / "a.safetensors", small.copied(receiver)
    save_network(original, path)
    with pytest.raises(InputError, match=match):
        load_encoder(receiver, path)
    assert small.same(receiver.state_dict(), before)
    load_encoder(small.vit(num_heads=4), path)


def test_an_encoder_of_other_heads_is_refused_as_start_of_a_method(tmp_path):
    save_network(small.vit(seed=1, num_heads=4), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"its encoder has 4 attention heads"):
        load_method(small.mae(), tmp_path / "a.safetensors")


def test_another_depth_is_told_as_such(tmp_path):
    save_network(small.vit(seed=1, num_heads=4, depth=3), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"left over: blocks\.2\."):
        load_encoder(small.vit(num_heads=2), tmp_path / "a.safetensors")


@pytest.mark.parametrize("heads", [16, 8])
@pytest.mark.parametrize("renamed", [foreign.original_autoencoder, foreign.mmpretrain_mae])
def test_published_decoders_have_16_heads(renamed, heads, tmp_path):
    decoder = partial(PixelDecoder, embed_dim=512, depth=1)
    original, receiver = (
        small.mae(seed=1, decoder=partial(decoder, num_heads=16)),
        small.mae(seed=2, decoder=partial(decoder, num_heads=heads)),
    )
    torch.save({"model": renamed(original.state_dict())}, tmp_path / "a.pth")
    if heads == 16:
        load_method(receiver, tmp_path / "a.pth")
        assert small.same(receiver.state_dict(), original.state_dict())
    else:
        with pytest.raises(InputError, match=r"decoder has 16 attention heads.*recipe\.pretraining\.decoder\.num_hea"):
            load_method(receiver, tmp_path / "a.pth")
        load_encoder(receiver.encoder, tmp_path / "a.pth")


def test_stages_of_heads_are_listed_one_by_one(tmp_path):
    # The tables of relative positions have a column a head, so MixMIM's tensors differ too; heads are told first.
    save_network(mixmim_encoder([1, 2, 4, 8]), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"has \[1,2,4,8\] attention heads and the network's 2"):
        load_encoder(mixmim_encoder([2, 2, 2, 2]), tmp_path / "a.safetensors")


def test_metadata_is_text_that_other_programs_read(tmp_path):
    save_network(small.vit(num_heads=4), tmp_path / "a.safetensors")
    header = (tmp_path / "a.safetensors").read_bytes()[8:]
    length = int.from_bytes((tmp_path / "a.safetensors").read_bytes()[:8], "little")
    assert json.loads(header[:length])["__metadata__"] == {"attention_heads": "4,4"}
