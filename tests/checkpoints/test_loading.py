import argparse
import json
import re
from pathlib import Path

import foreign
import pytest
import small
import timm
import torch
from safetensors.torch import save_file

from activessf.backbones.convvit import ConvViT
from activessf.backbones.mixmim_transformer import MixMIMTransformer
from activessf.checkpoints.fitting import fit_encoder
from activessf.checkpoints.layouts import LAYOUTS, recognised
from activessf.checkpoints.loading import load_encoder, load_method
from activessf.errors import InputError

GOLDEN = Path(__file__).parents[1] / "methods" / "golden"
# Our method, its names in a file, and what such a file is called.
FILES = {
    "MAE": (small.mae, foreign.original_autoencoder),
    "ConvMAE": (small.convmae, foreign.original_autoencoder),
    "MixMIM": (small.mixmim, foreign.original_autoencoder),
    "MoCo v3": (small.moco, foreign.original_moco),
    "mmpretrain's MAE": (small.mae, foreign.mmpretrain_mae),
    "mmpretrain's MixMIM": (small.mixmim, foreign.mmpretrain_mixmim),
    "mmpretrain's MoCo v3": (small.moco, foreign.mmpretrain_moco),
}


def written(path, weights, holder="model"):
    """A training file, with what training scripts put beside the weights."""
    torch.save({holder: weights, "epoch": 3, "optimizer": {}, "args": argparse.Namespace(lr=0.1)}, path)
    return path


@pytest.mark.parametrize("name", FILES)
def test_a_whole_method_comes_back_from_its_published_names(name, tmp_path):
    make, renamed = FILES[name]
    original, receiver = make(seed=1), make(seed=2)
    path = written(tmp_path / "a.pth", renamed(original.state_dict()), "model" if make == small.mae else "state_dict")
    report = load_method(receiver, path)
    assert small.same(receiver.state_dict(), original.state_dict())
    assert report.layout == name and report.fresh == report.unused == report.resized == ()
    assert set(report.loaded) == {part.split(".")[0] for part in original.state_dict()}


@pytest.mark.parametrize("name", FILES)
def test_an_encoder_gives_the_features_that_it_had(name, tmp_path):
    make, renamed = FILES[name]
    original, receiver = make(seed=1), make(seed=2)
    before = small.copied(receiver)
    report = load_encoder(receiver.encoder, written(tmp_path / "a.pth", renamed(original.state_dict())))
    views = small.images()
    with torch.inference_mode():
        assert torch.equal(receiver.encoder(views), original.encoder(views))
    assert set(report.unused) == {part.split(".")[0] for part in before} - {"encoder"}
    rest = {key: value for key, value in before.items() if not key.startswith("encoder.")}
    assert small.same({key: receiver.state_dict()[key] for key in rest}, rest)


@pytest.mark.parametrize("name", ["MAE", "ConvMAE", "MixMIM", "mmpretrain's MAE"])
def test_a_file_with_the_encoder_alone_leaves_the_rest_fresh_and_says_so(name, tmp_path):
    make, renamed = FILES[name]
    original, receiver = make(seed=1), make(seed=2)
    before = small.copied(receiver)
    kept = {key: value for key, value in original.state_dict().items() if key.startswith("encoder.")}
    report = load_method(receiver, written(tmp_path / "a.pth", renamed(kept)))
    assert report.loaded == ("encoder",) and "decoder" in report.fresh and "fresh: " in str(report)
    for key, value in receiver.state_dict().items():
        assert torch.equal(value, (original.state_dict() if key.startswith("encoder.") else before)[key]), key


def test_masks_of_shifted_windows_in_a_file_of_mixmim_are_left_out(tmp_path):
    original, receiver = small.mixmim(seed=1), small.mixmim(seed=2)
    file = foreign.original_autoencoder(original.state_dict())
    file["layers.0.blocks.0.attn_mask"] = torch.zeros(4, 4, 4)
    load_method(receiver, written(tmp_path / "a.pth", file))
    assert small.same(receiver.state_dict(), original.state_dict())


@pytest.mark.parametrize("kept", [("encoder",), ("encoder", "projector", "predictor")])
def test_slow_copies_that_a_file_lacks_are_copies_of_what_it_has(kept, tmp_path):
    original, receiver = small.moco(seed=1), small.moco(seed=2)
    state = {key: value for key, value in original.state_dict().items() if key.split(".")[0] in kept}
    report = load_method(receiver, written(tmp_path / "a.pth", foreign.original_moco(state), "state_dict"))
    assert small.same(receiver.momentum_encoder.state_dict(), original.encoder.state_dict())
    assert small.same(receiver.momentum_projector.state_dict(), receiver.projector.state_dict())
    assert ("projector" in report.fresh) == ("projector" not in kept)


def test_an_encoder_that_is_given_to_moco_is_copied():
    method = small.moco(seed=1)
    method.encoder.load_state_dict(small.vit(seed=5).state_dict())
    method.encoder_replaced()
    assert small.same(method.momentum_encoder.state_dict(), method.encoder.state_dict())
    assert not any(value.requires_grad for value in method.momentum_encoder.parameters())


def test_an_autoencoder_with_more_parts_than_the_file_keeps_those_fresh(tmp_path):
    original, receiver = small.mae(seed=1), small.mixedae(seed=2)
    before = small.copied(receiver)
    report = load_method(receiver, written(tmp_path / "a.pth", foreign.original_autoencoder(original.state_dict())))
    assert set(report.loaded) == {"encoder", "decoder"}
    assert "segment_embed" in report.fresh
    for name, value in receiver.state_dict().items():
        assert torch.equal(value, original.state_dict().get(name, before[name])), name


@pytest.mark.parametrize("name", ["mae", "convmae", "mixmim", "mocov3"])
def test_the_published_base_sizes_fit_the_encoders_of_the_paper_recipe(name):
    keys = json.loads((GOLDEN / "tables.json").read_text())["methods"][name]["pretraining"]["keys"]
    file = {key: torch.empty(shape, device="meta") for key, shape in keys.items()}
    ours = recognised(file).ours(file)
    with torch.device("meta"):
        network = {
            "convmae": lambda: ConvViT(224, 16, [256, 384, 768], [2, 2, 11], 12, num_classes=0),
            "mixmim": lambda: MixMIMTransformer(
                img_size=224, patch_size=16, embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32],
                num_classes=0,
            ),
        }.get(name, lambda: timm.create_model("vit_base_patch16_224", num_classes=0))()  # fmt: skip
    fit = fit_encoder(network, foreign.part_of(ours, "encoder"))
    assert fit.whole and not fit.resized and not fit.fresh


# The layouts of encoders


@pytest.mark.parametrize("make", [small.mae, small.convmae, small.mixmim, small.mixedae, small.moco])
def test_a_checkpoint_of_a_pretraining_is_read_as_such(make, tmp_path):
    original, receiver, encoder = make(seed=1), make(seed=2), make(seed=3).encoder
    torch.save({"state_dict": original.state_dict(), "global_step": 7, "optimizer_states": []}, tmp_path / "a.ckpt")
    report = load_method(receiver, tmp_path / "a.ckpt")
    assert report.layout == "a pretraining's checkpoint" and not report.fresh
    assert small.same(receiver.state_dict(), original.state_dict())
    load_encoder(encoder, tmp_path / "a.ckpt")
    assert small.same(encoder.state_dict(), original.encoder.state_dict())


@pytest.mark.parametrize("registers", [False, True])
def test_dinov2_gives_the_features_that_it_had(registers, tmp_path):
    original, receiver = (small.dinov2(seed=seed, registers=registers) for seed in (1, 2))
    torch.save(foreign.dinov2(original.state_dict(), registers), tmp_path / "dinov2.pth")
    report = load_encoder(receiver, tmp_path / "dinov2.pth")
    with torch.inference_mode():
        found, expected = (network(small.images(56)) for network in (receiver, original))
    assert (found - expected).abs().max() < 1e-5 and report.layout == "DINOv2"


def test_dinobloom_gives_the_features_that_it_had(tmp_path):
    original, receiver = small.dinov2(seed=1), small.dinov2(seed=2)
    torch.save(foreign.dinobloom(original.state_dict()), tmp_path / "DinoBloom-S.pth")
    assert load_encoder(receiver, tmp_path / "DinoBloom-S.pth").layout == "DINOv2's teacher (DinoBloom)"
    assert small.same(receiver.state_dict(), original.state_dict())


def test_counters_that_old_files_lack_are_not_missed(tmp_path):
    original, receiver = (small.drawn(timm.create_model("resnet18", num_classes=3), seed) for seed in (1, 2))
    kept = {name: value for name, value in original.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(kept, tmp_path / "old.pth")
    load_encoder(receiver, tmp_path / "old.pth")
    with torch.inference_mode():
        found, expected = (network.forward_features(small.images()) for network in (receiver, original))
    assert torch.equal(found, expected)
    del kept["bn1.running_mean"]
    torch.save(kept, tmp_path / "old.pth")
    with pytest.raises(InputError, match=r"missing: bn1\.running_mean"):
        load_encoder(receiver, tmp_path / "old.pth")


def test_a_norm_of_pooled_tokens_is_taken_only_where_it_stands_in_the_place_that_it_had(tmp_path):
    tokens = small.vit(seed=1).state_dict()
    pooled = {f"fc_norm.{name}": torch.full((32,), 7.0) for name in ("weight", "bias")}
    only_pooled = {name: value for name, value in tokens.items() if not name.startswith("norm.")}
    for number, weights in enumerate(({**tokens, **pooled}, {**only_pooled, **pooled})):
        torch.save(weights, tmp_path / "a.pth")
        receiver = small.vit(seed=2, num_classes=3, global_pool="avg")
        load_encoder(receiver, tmp_path / "a.pth")
        assert torch.equal(receiver.fc_norm.weight, pooled["fc_norm.weight"]) == bool(number)
    torch.save({**tokens, **pooled}, tmp_path / "a.pth")
    receiver = small.vit(seed=2)
    load_encoder(receiver, tmp_path / "a.pth")
    assert small.same(receiver.state_dict(), tokens)


def test_dinov2_in_mmpretrains_names_gives_the_features_that_it_had(tmp_path):
    original, receiver = small.dinov2(seed=1), small.dinov2(seed=2)
    scales = {"ls1.gamma": "attn.gamma1.weight", "ls2.gamma": "ffn.gamma2.weight"}
    names = foreign.mmpretrain_vit(original.state_dict())
    renamed = {re.sub(r"ls\d\.gamma", lambda found: scales[found[0]], name): value for name, value in names.items()}
    written(tmp_path / "a.pth", renamed, "state_dict")
    load_encoder(receiver, tmp_path / "a.pth")
    assert small.same(receiver.state_dict(), original.state_dict())


def test_blocks_in_chunks_are_found_by_their_number(tmp_path):
    original, receiver = small.dinov2(seed=1), small.dinov2(seed=2)
    names = foreign.dinov2(original.state_dict())
    chunked = {re.sub(r"^blocks\.(\d)\.", r"blocks.\1.\1.", name): value for name, value in names.items()}
    torch.save(chunked, tmp_path / "a.pth")
    load_encoder(receiver, tmp_path / "a.pth")
    assert small.same(receiver.state_dict(), original.state_dict())


def test_timm_reads_dinov2_as_this_does():
    from timm.models.vision_transformer import checkpoint_filter_fn

    network = small.dinov2(seed=1, registers=True)
    file = foreign.dinov2(network.state_dict(), registers=True)
    ours = {name.removeprefix("encoder."): value for name, value in recognised(file).ours(file).items()}
    assert small.same(ours, checkpoint_filter_fn(dict(file), network))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_mmpretrains_classifier_and_timms_own_names(suffix, tmp_path):
    original = small.vit(seed=1, num_classes=3)
    weights = {f"module.{name}": value.clone() for name, value in original.state_dict().items()}
    (save_file if suffix == "safetensors" else torch.save)(weights, tmp_path / f"timm.{suffix}")
    encoder = {name: value for name, value in original.state_dict().items() if not name.startswith("head.")}
    head = {"head.layers.head.weight": torch.zeros(3, 32), "head.layers.head.bias": torch.zeros(3)}
    written(tmp_path / "mm.pth", {**foreign.mmpretrain_vit(encoder), **head}, "state_dict")
    for name in (f"timm.{suffix}", "mm.pth"):
        receiver = small.vit(seed=2)
        load_encoder(receiver, tmp_path / name)
        assert small.same(receiver.state_dict(), encoder)


def test_a_resnet_of_timm_and_one_of_moco(tmp_path):
    original = small.drawn(timm.create_model("resnet18", num_classes=0), 1)
    torch.save(
        {**original.state_dict(), "fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}, tmp_path / "a.pt"
    )
    moco = {f"module.base_encoder.{name}": value for name, value in original.state_dict().items()}
    torch.save({"state_dict": {**moco, "module.base_encoder.fc.0.weight": torch.zeros(8, 512)}}, tmp_path / "b.pt")
    for name in ("a.pt", "b.pt"):
        receiver = small.drawn(timm.create_model("resnet18", num_classes=5), 2)
        head = receiver.get_parameter("fc.weight").clone()
        report = load_encoder(receiver, tmp_path / name)
        kept = {key: value for key, value in receiver.state_dict().items() if not key.startswith("fc.")}
        assert small.same(kept, original.state_dict()) and torch.equal(receiver.get_parameter("fc.weight"), head)
        assert set(report.fresh) == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("make", [small.mae, small.convmae, small.mixmim])
def test_a_classifier_of_pooled_tokens_starts_with_head_and_pooled_norm_fresh(make, tmp_path):
    original = make(seed=1)
    path = written(tmp_path / "a.pth", foreign.original_autoencoder(original.state_dict()))
    classifiers = {
        small.mae: lambda: small.vit(num_classes=5, global_pool="avg"),
        small.convmae: lambda: small.drawn(
            type(original.encoder)(32, 8, [8, 16, 32], [1, 1, 2], 2, num_classes=5, global_pool="avg"), 2
        ),
        small.mixmim: lambda: small.drawn(
            type(original.encoder)(
                img_size=32, patch_size=8, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], num_classes=5
            ),
            2,
        ),
    }
    receiver = classifiers[make]()
    before = small.copied(receiver)
    report = load_encoder(receiver, path)
    fresh = {"head.weight", "head.bias"} | ({"fc_norm.weight", "fc_norm.bias"} if make != small.mixmim else set())
    assert set(report.fresh) == fresh
    for name, value in receiver.state_dict().items():
        assert torch.equal(value, before[name] if name in fresh else original.encoder.state_dict()[name]), name


def test_every_layout_is_recognised_as_itself_only():
    names = [layout.name for layout in LAYOUTS]
    assert len(set(names)) == len(names) and names[-1] == "timm's names"
    for name, (make, renamed) in FILES.items():
        weights = {key.removeprefix("module."): value for key, value in renamed(make().state_dict()).items()}
        assert recognised(weights).name == name


# Other sizes


@pytest.mark.parametrize("name", ["MAE", "ConvMAE", "MixMIM", "MoCo v3"])
def test_tables_of_another_grid_are_resized_and_all_else_is_as_it_was(name, tmp_path):
    make, renamed = FILES[name]
    original, receiver = make(48, seed=1), make(32, seed=2)
    report = load_method(receiver, written(tmp_path / "a.pth", renamed(original.state_dict())))
    tables = {told.split()[0] for told in report.resized}
    assert {table.rsplit(".", 1)[-1] for table in tables} <= {
        "pos_embed", "absolute_pos_embed", "relative_position_bias_table"
    } and tables  # fmt: skip
    for key, value in receiver.state_dict().items():
        if key in tables:
            assert value.shape != original.state_dict()[key].shape and torch.isfinite(value).all()
        elif not key.endswith("relative_position_index"):
            assert torch.equal(value, original.state_dict()[key]), key


def test_index_buffers_are_never_taken_from_a_file(tmp_path):
    original, receiver = small.mixmim(seed=1), small.mixmim(seed=2)
    weights = foreign.original_autoencoder(original.state_dict())
    for name, value in weights.items():
        if name.endswith("relative_position_index"):
            weights[name] = torch.zeros_like(value)
    load_encoder(receiver.encoder, written(tmp_path / "a.pth", weights))
    assert small.same(receiver.encoder.state_dict(), original.encoder.state_dict())


# Refused, and nothing changed


def refused(load, receiver, path, match):
    before = small.copied(receiver)
    with pytest.raises(InputError, match=match) as caught:
        load(receiver, path)
    assert small.same(receiver.state_dict(), before)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_another_patch_size_or_width_is_refused_with_both_shapes(tmp_path):
    path = written(tmp_path / "a.pth", foreign.original_autoencoder(small.mae(seed=1).state_dict()))
    refused(load_encoder, small.vit(patch_size=16), path, r"32 x 3 x 8 x 8 in the file and 32 x 3 x 16 x 16 in the net")
    refused(load_encoder, small.vit(embed_dim=64), path, r"1 x 1 x 32 in the file and 1 x 1 x 64 in the network")
    refused(load_encoder, small.vit(depth=3), path, r"missing: blocks\.2\.norm1\.weight.* and 9 more")
    refused(load_encoder, small.vit(depth=1), path, r"left over: blocks\.1\.norm1\.weight")


def test_a_file_of_another_network_is_refused_with_what_it_is_for(tmp_path):
    path = written(tmp_path / "a.pth", foreign.original_autoencoder(small.convmae(seed=1).state_dict()))
    refused(load_encoder, small.vit(), path, r"read as ConvMAE, doesn't fit the VisionTransformer.*convvit_\*")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "b.pth")
    refused(load_encoder, small.vit(), tmp_path / "b.pth", "read as timm's names.*left over: weight")


def test_a_part_is_loaded_whole_or_the_file_is_refused(tmp_path):
    weights = foreign.original_autoencoder(small.mae(seed=1).state_dict())
    half = {name: value for name, value in weights.items() if not name.startswith("decoder_blocks")}
    refused(load_method, small.mae(), written(tmp_path / "a.pth", half), r"decoder is not this one: missing: blocks\.0")
    load_encoder(small.vit(), tmp_path / "a.pth")
    odd = {**weights, "decoder_extra.weight": torch.zeros(1)}
    refused(load_method, small.mae(), written(tmp_path / "b.pth", odd), r"left over: extra\.weight")
    wide = {**weights, "decoder_pred.bias": torch.zeros(7)}
    refused(load_method, small.mae(), written(tmp_path / "c.pth", wide), "set recipe.pretraining.decoder")
    headless = {name: value for name, value in weights.items() if name.startswith("decoder")}
    refused(load_method, small.mae(), written(tmp_path / "d.pth", headless), "left over: decoder")


def test_another_methods_file_is_refused_for_a_method_but_not_for_its_encoder(tmp_path):
    path = written(tmp_path / "a.pth", foreign.original_autoencoder(small.mae(seed=1).state_dict()))
    refused(
        load_method, small.moco(), path, "MoCoV3 with a VisionTransformer.*left over: decoder.*backbone.checkpoint="
    )
    moco = small.moco()
    load_encoder(moco.encoder, path)
    assert small.same(moco.encoder.state_dict(), small.mae(seed=1).encoder.state_dict())


def test_the_heads_of_mocos_small_transformer_are_checked(tmp_path):
    state = small.moco(seed=1, embed_dim=384, num_heads=12).state_dict()
    path = written(tmp_path / "a.pth", foreign.original_moco(state), "state_dict")
    refused(load_encoder, small.vit(embed_dim=384, num_heads=6), path, r"12 attention heads.*\+backbone\.num_heads=12")
    load_encoder(small.vit(embed_dim=384, num_heads=12), path)


def test_names_that_no_layout_knows_are_left_over(tmp_path):
    weights = {**foreign.original_moco(small.moco().state_dict()), "module.queue": torch.zeros(3)}
    refused(load_encoder, small.vit(), written(tmp_path / "a.pth", weights, "state_dict"), "left over: queue")


def test_a_classifier_of_pooled_tokens_is_no_start_for_an_encoder_and_the_reason_is_told(tmp_path):
    torch.save(small.vit(seed=1, num_classes=3, global_pool="avg").state_dict(), tmp_path / "a.pth")
    refused(load_encoder, small.vit(), tmp_path / "a.pth", r"missing: norm.*left over: fc_norm.*behind the mean")
    refused(load_method, small.mae(), tmp_path / "a.pth", "start from the pretraining that it came from")


# Mistakes that these tests would see


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 3, 1, 2]])
def test_another_order_of_merged_tokens_gives_other_features(order, tmp_path):
    original, receiver = small.mixmim(seed=1), small.mixmim(seed=2)
    weights = foreign.mmpretrain_mixmim(original.state_dict())
    for name, value in weights.items():
        if ".downsample." in name:
            weights[name] = value.reshape(*value.shape[:-1], -1, 4)[..., order].flatten(-2)
    load_encoder(receiver.encoder, written(tmp_path / "a.pth", weights, "state_dict"))
    same = order == [0, 1, 2, 3]
    with torch.inference_mode():
        found, expected = (method.encoder(small.images()) for method in (receiver, original))
    assert torch.equal(found, expected) == same
