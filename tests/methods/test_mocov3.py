import copy
from functools import partial
from hashlib import sha256

import numpy as np
import pytest
import timm
import torch
from golden_arrays import deviation
from parity import Case, published_tables
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from activessf.errors import InputError
from activessf.methods import mocov3
from activessf.methods.mocov3 import MoCoV3, contrastive_loss, momentum_at
from activessf.methods.positions import sincos_positions
from activessf.training.optimization import Optimization, layer_ids, parameter_groups

CASES = ["mocov3-a", "mocov3-b"]


def tiny_moco(**changes):
    backbone = partial(
        timm.create_model, "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2
    )
    torch.manual_seed(0)
    sizes = {"hidden_dim": 64, "output_dim": 16, "temperature": 0.2, "momentum": 0.99, "stop_grad_conv1": True}
    return MoCoV3(backbone, **{**sizes, **changes})


def published(case):
    """Our method with the case's sizes and weights, in 64 bits."""
    sizes = case.sizes
    backbone = partial(
        timm.create_model, "vit_base_patch16_224", img_size=sizes["image_size"], patch_size=sizes["patch_size"],
        embed_dim=sizes["embed_dim"], depth=sizes["depth"], num_heads=sizes["heads"],
    )  # fmt: skip
    method = MoCoV3(
        backbone, sizes["mlp_dim"], sizes["dim"], sizes["temperature"], sizes["momentum"], sizes["stop_grad_conv1"]
    ).double()
    case.load(method, ours)
    return method


def ours(name):
    name = name.replace("base_encoder.head.", "projector.").replace("momentum_encoder.head.", "momentum_projector.")
    return name.replace("base_encoder.", "encoder.")


def views_of(case):
    return torch.stack([case.inputs["view1"], case.inputs["view2"]], dim=1)


def groups_of(method, lr, decay, decay_vectors=True):
    return parameter_groups(method.encoder, method._others(), lr, decay, 1.0, (), decay_vectors)


@pytest.mark.parametrize("name", CASES)
def test_outputs_loss_gradients_and_steps_equal_the_published_code(name):
    case = Case("mocov3", name)
    method, views = published(case), views_of(case)
    assert (method.encoder.pos_embed == method.momentum_encoder.pos_embed).all()
    trial = copy.deepcopy(method)
    for number, view in ((1, case.inputs["view1"]), (2, case.inputs["view2"])):
        case.check_output("train", f"encoder_view{number}", trial.encoder(view))
        case.check_output("train", f"q{number}", trial.query(view))
    trial.move_slow_copies(momentum_at(0.0, case.sizes["momentum"]))
    for number in (1, 2):
        case.check_output("train", f"k{number}", trial.key(case.inputs[f"view{number}"]))
    loss = method(views)
    loss.backward()
    case.check_loss("train", loss)
    case.check_gradients("train", method, ours)
    check_state(case, method)
    case.check_steps("train", partial(groups_of, method), lambda: method(views))
    assert all(int(value) == 6 for key, value in method.state_dict().items() if key.endswith("num_batches_tracked"))


def check_state(case, method):
    """Slow copies and running statistics after one forward of both views."""
    run, state = case.made["runs"]["train"], method.state_dict()
    assert len(run["momentum_after_update"]) > 30 and len(run["batch_norm_after_first_forward"]) == 24
    for name, entry in run["momentum_after_update"].items():
        assert deviation(entry, state[ours(name)].numpy()) <= case.tolerance["momentum"], name
    for name, entry in run["batch_norm_after_first_forward"].items():
        value = state[ours(name)].numpy()
        if name.endswith("num_batches_tracked"):
            assert value == entry == 2
        else:
            assert deviation(entry, value) <= case.tolerance["batch_norm"], name


@pytest.mark.parametrize("name", CASES)
def test_logits_of_the_classifier_equal_the_published_code(name):
    case = Case("mocov3", name)
    sizes, finetune = case.sizes, case.made["finetune"]
    network = timm.create_model(
        "vit_base_patch16_224", img_size=sizes["image_size"], patch_size=sizes["patch_size"], num_classes=11,
        embed_dim=sizes["embed_dim"], depth=sizes["depth"], num_heads=sizes["heads"],
    )  # fmt: skip
    grid = (sizes["image_size"] // sizes["patch_size"],) * 2
    network.pos_embed.data = sincos_positions(sizes["embed_dim"], grid, class_token=True, order="moco")
    network = network.double().eval()
    keys = {key if key.startswith("head.") else f"base_encoder.{key}": shape for key, shape in finetune["keys"].items()}
    case.load(network, lambda key: key.removeprefix("base_encoder."), keys)
    case.check_logits(network(case.inputs["view1"]))


@pytest.mark.parametrize("name", CASES)
def test_position_tables_are_the_published_ones(name):
    case = Case("mocov3", name)
    grid = (case.sizes["image_size"] // case.sizes["patch_size"],) * 2
    table = sincos_positions(case.sizes["embed_dim"], grid, class_token=True, order="moco").numpy()
    for entry in case.made["tables"].values():
        assert sha256(np.ascontiguousarray(table, "<f4").tobytes()).hexdigest() == entry["sha256"]


# Mistakes: each changes a method that is right, or what it calls


def _set_eps(method, views, patch):
    for module in method.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5


def _swap_halves(method, views, patch):
    for network in (method.encoder, method.momentum_encoder):
        network.pos_embed.data = torch.cat(network.pos_embed.data.chunk(2, dim=-1)[::-1], dim=-1)


def _keep_slow_copies(method, views, patch):
    patch.setattr(method, "move_slow_copies", lambda momentum: None)


def _forget_temperature(method, views, patch):
    patch.setattr(mocov3, "contrastive_loss", lambda *how: contrastive_loss(*how) / (2 * method.temperature))


def _average(method, views, patch):
    patch.setattr(mocov3, "contrastive_loss", lambda *how: contrastive_loss(*how) / 2)


def _same_view(method, views, patch):
    patch.setattr(method, "key", lambda images: MoCoV3.key(method, views[:, 1 - which(images, views)]))


def _pool_patches(method, views, patch):
    patch.setattr(mocov3, "class_token", lambda encoder, images: encoder.forward_features(images)[:, 1:].mean(dim=1))


def _no_last_norm(method, views, patch):
    method.predictor[-1] = nn.Identity()


def _joint_batch(method, views, patch):
    def joint(features, images):
        return features(method, torch.cat(views.unbind(dim=1))).chunk(2)[which(images, views)]

    patch.setattr(method, "query", partial(joint, MoCoV3.query))
    patch.setattr(method, "key", partial(joint, MoCoV3.key))


def which(images, views):
    return 0 if torch.equal(images, views[:, 0]) else 1


MISTAKES = {
    "keys before the momentum update": _keep_slow_copies,
    "no factor 2T": _forget_temperature,
    "mean instead of sum of the two terms": _average,
    "same-view pairs": _same_view,
    "patch mean instead of cls": _pool_patches,
    "predictor without its last BatchNorm": _no_last_norm,
    "both views in one BatchNorm batch": _joint_batch,
    "LayerNorm eps 1e-5 instead of 1e-6": _set_eps,
    "sin-cos halves swapped (MAE order)": _swap_halves,
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", CASES)
def test_a_mistake_moves_the_loss_to_where_it_is_known_to_go(monkeypatch, name, mistake):
    case = Case("mocov3", name)
    expected = case.made["runs"]["train"]["loss_with_mistake"]
    assert set(expected) == set(MISTAKES)
    method, views = published(case), views_of(case)
    MISTAKES[mistake](method, views, monkeypatch)
    loss = method(views)
    assert abs(loss.item() - expected[mistake]) <= case.tolerance["loss"]
    with pytest.raises(AssertionError):
        case.check_loss("train", loss)


@pytest.mark.parametrize(
    ("mistake", "change"),
    [
        ("nothing decayed", {"weight_decay": 0.0}),
        ("betas (.9, .95)", {"betas": [0.9, 0.95]}),
        ("one-dimensional parameters and biases not decayed", {"decay_vectors": False}),
    ],
)
@pytest.mark.parametrize("name", CASES)
def test_a_wrong_optimiser_moves_the_second_step_to_where_it_is_known_to_go(name, mistake, change):
    case = Case("mocov3", name)
    recipe = {**case.figures["optimizer"], "decay_vectors": True, **change}
    method, views = published(case), views_of(case)
    groups = groups_of(method, recipe["lr"], recipe["weight_decay"], recipe["decay_vectors"])
    optimizer = torch.optim.AdamW(groups, lr=recipe["lr"], betas=tuple(recipe["betas"]), eps=recipe["eps"])
    losses = [descend(method, views, optimizer) for _ in range(3)]
    run = case.made["runs"]["train"]
    assert abs(losses[2] - run["step2_with_mistake"][mistake]) <= case.tolerance["step2"]
    assert abs(losses[2] - run["loss_after_adamw_step"]["step2"]) > 10 * case.tolerance["step2"]


def descend(method, views, optimizer):
    loss = method(views)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


# Base size


@pytest.fixture(scope="module")
def base_size():
    with torch.device("meta"):  # shapes alone
        return MoCoV3(partial(timm.create_model, "vit_base_patch16_224"), 4096, 256, 0.2, 0.99, True)


def test_base_size_has_the_published_parameters(base_size):
    expected = published_tables()["methods"]["mocov3"]["pretraining"]
    assert {name: list(value.shape) for name, value in base_size.state_dict().items()} == {
        ours(name): shape for name, shape in expected["keys"].items()
    }
    assert sum(value.numel() for value in base_size.parameters()) == expected["total"] == 215_678_464
    trainable = {name: value for name, value in base_size.named_parameters() if value.requires_grad}
    assert sum(value.numel() for value in trainable.values()) == expected["trainable"] == 108_150_016
    frozen = {name for name, _ in base_size.named_parameters()} - set(trainable)
    assert {name for name in frozen if not name.startswith("momentum_")} == {
        ours(name) for name in expected["frozen"] if not name.startswith("and ")
    }


def test_weight_decay_is_of_every_parameter_that_trains(base_size):
    expected = published_tables()["methods"]["mocov3"]["pretraining"]["weight_decay"]
    groups = groups_of(base_size, 1e-3, 0.1)
    decayed = [value for group in groups for value in group["params"]]
    assert {group["weight_decay"] for group in groups} == {0.1} and len(decayed) == expected["decayed_tensors"]
    assert sum(value.numel() for value in decayed) == expected["decayed_entries"]


def test_the_classifier_has_the_published_parameters_and_layers():
    with torch.device("meta"):
        network = timm.create_model("vit_base_patch16_224", num_classes=11)
    tables = published_tables()["methods"]["mocov3"]
    assert {name: list(value.shape) for name, value in network.state_dict().items()} == tables["finetuning"]["keys"]
    assert sum(value.numel() for value in network.parameters()) == tables["finetuning"]["total"]
    ids = layer_ids(network)
    assert ids == tables["layer_decay"]["layer_id"] and max(ids.values()) == tables["layer_decay"]["N"]
    for decay, scales in tables["layer_decay"]["lr_scale"].items():
        groups = parameter_groups(network, (), 1.0, 0.05, float(decay))
        found = {id(value): group["lr"] for group in groups for value in group["params"]}
        for name, value in network.named_parameters():
            assert found[id(value)] == pytest.approx(scales[str(ids[name])], rel=1e-12), name


def test_layer_decay_in_pretraining_is_of_the_encoder_alone(base_size):
    groups = parameter_groups(base_size.encoder, base_size._others(), 1.0, 0.05, 0.75, (), True)
    rates = {id(value): group["lr"] for group in groups for value in group["params"]}
    for name, value in base_size.named_parameters():
        if not name.startswith("encoder."):
            assert rates.get(id(value)) == (1.0 if value.requires_grad else None), name
    assert rates[id(base_size.encoder.cls_token)] == pytest.approx(0.75**13)


# The momentum


def test_the_momentum_follows_the_published_schedule():
    schedules = [entry for entry in published_tables()["schedules"] if "momentum" in entry]
    assert len(schedules) == 2
    for entry in schedules:
        total = entry["epochs"] * entry["iterations_per_epoch"]
        for iteration, expected in zip(entry["iteration"], entry["momentum"], strict=True):
            assert momentum_at(iteration / total, entry["momentum_start"]) == pytest.approx(expected, rel=1e-9)
    assert momentum_at(1.0, 0.99) == 1.0


def test_the_progress_of_the_training_sets_the_momentum():
    method = tiny_moco(momentum=0.5)
    with torch.no_grad():
        method.encoder.cls_token.add_(1.0)
    before = method.momentum_encoder.cls_token.clone()
    method(torch.randn(4, 2, 3, 32, 32), 0.25)
    moved = method.momentum_encoder.cls_token - before
    share = 0.5 * 0.5 * (1 + np.cos(np.pi / 4))
    assert torch.allclose(moved, torch.full_like(moved, share), atol=1e-6)
    before = method.momentum_encoder.cls_token.clone()
    method(torch.randn(4, 2, 3, 32, 32), 1.0)
    assert torch.equal(method.momentum_encoder.cls_token, before)


def test_the_slow_copies_move_once_in_a_step_of_several_batches(monkeypatch):
    method, moves = tiny_moco(), []
    move = method.move_slow_copies
    monkeypatch.setattr(method, "move_slow_copies", lambda momentum: [moves.append(momentum), move(momentum)])
    method.optimization = Optimization(
        optimizer=torch.optim.SGD, base_lr=0.1, batch_size=8, weight_decay=0.0, layer_decay=1.0, min_lr=0.0,
        warmup_steps=0, total_steps=3, decay_vectors=True,
    )  # fmt: skip
    batches = DataLoader(TensorDataset(torch.randn(24, 2, 3, 32, 32), torch.zeros(24)), batch_size=2)
    trainer = Trainer(
        accelerator="cpu", max_steps=3, accumulate_grad_batches=4, logger=False, enable_checkpointing=False,
        enable_progress_bar=False,
    )  # fmt: skip
    trainer.fit(method, batches)
    assert moves == [momentum_at(step / 3, method.momentum) for step in range(3)]


def test_slow_copies_start_equal_are_in_training_mode_and_in_no_group():
    method = tiny_moco().train()
    for slow, fast in ((method.momentum_encoder, method.encoder), (method.momentum_projector, method.projector)):
        assert all(torch.equal(old, new) for old, new in zip(slow.parameters(), fast.parameters(), strict=True))
        assert all(module.training for module in slow.modules())
    slow = {id(value) for name, value in method.named_parameters() if name.startswith("momentum_")}
    assert slow and not any(value.requires_grad for value in method.parameters() if id(value) in slow)
    grouped = {id(value) for group in groups_of(method, 1.0, 0.1) for value in group["params"]}
    assert not grouped & slow
    assert grouped == {id(value) for value in method.parameters() if value.requires_grad}


def test_every_parameter_that_should_train_has_a_gradient_and_no_other():
    for stop_grad_conv1 in (True, False):
        method = tiny_moco(stop_grad_conv1=stop_grad_conv1)
        method(torch.randn(4, 2, 3, 32, 32)).backward()
        for name, parameter in method.named_parameters():
            frozen = name.startswith("momentum_") or name.endswith("pos_embed")
            frozen = frozen or stop_grad_conv1 and ".patch_embed." in name
            assert parameter.requires_grad != frozen, name
            assert (parameter.grad is not None) == parameter.requires_grad, name


# Loss


def test_the_loss_by_hand():
    generator = torch.Generator().manual_seed(0)
    queries, keys = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    total = 0.0
    for i in range(5):
        cosines = [(queries[i] @ key / (queries[i].norm() * key.norm())).item() / 0.2 for key in keys]
        total -= cosines[i] - np.log(sum(np.exp(cosine) for cosine in cosines))
    assert contrastive_loss(queries, keys, 0.2).item() == pytest.approx(2 * 0.2 * total / 5, abs=1e-12)


def test_keys_take_no_gradient():
    queries, keys = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    contrastive_loss(queries, keys, 0.2).backward()
    assert queries.grad is not None and keys.grad is None


def test_the_loss_does_not_know_the_scale_of_features_or_the_order_of_views():
    method = tiny_moco().double()
    views = torch.randn(6, 2, 3, 32, 32, dtype=torch.float64)
    loss = copy.deepcopy(method)(views)
    assert copy.deepcopy(method)(views.flip(1)).item() == pytest.approx(loss.item(), abs=1e-12)
    assert copy.deepcopy(method)(views.flip(0)).item() == pytest.approx(loss.item(), abs=1e-12)
    queries, keys = torch.randn(6, 4), torch.randn(6, 4)
    assert contrastive_loss(3 * queries, keys / 7, 0.2) == pytest.approx(contrastive_loss(queries, keys, 0.2).item())


def test_the_loss_falls():
    method = tiny_moco()
    images = torch.randn(8, 1, 3, 1, 1).expand(-1, 2, -1, 32, 32)
    optimizer = torch.optim.AdamW(groups_of(method, 2e-3, 0.0))
    losses = [
        descend(method, images + 0.1 * torch.randn(8, 2, 3, 32, 32), optimizer) for _ in range(30)
    ]  # fmt: skip
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


# Initialisation


def test_first_weights_are_drawn_as_published():
    encoder = tiny_moco().encoder
    D = 32
    for matrix in encoder.blocks[0].attn.qkv.weight.chunk(3):
        assert_uniform(matrix, np.sqrt(6 / (D + D)))
    assert_uniform(encoder.blocks[0].mlp.fc1.weight, np.sqrt(6 / (D + 4 * D)))
    assert_uniform(encoder.patch_embed.proj.weight, np.sqrt(6 / (3 * 8**2 + D)))
    assert all((value == 0).all() for name, value in encoder.named_parameters() if name.endswith("bias"))
    assert 0 < encoder.cls_token.abs().max() < 1e-5
    projector = tiny_moco().projector
    assert_uniform(projector[0].weight, 1 / np.sqrt(D))  # PyTorch's own
    assert not any("bias" in name for name, _ in projector[0].named_parameters()) and not projector[7].affine


def assert_uniform(values, bound):
    assert 0.9 * bound < values.abs().max() <= bound
    assert values.std().item() == pytest.approx(bound / np.sqrt(3), rel=0.1)


# What can't be used


@pytest.mark.parametrize("shape", [(4, 3, 32, 32), (4, 3, 3, 32, 32)])
def test_batches_without_two_views_are_refused(shape):
    with pytest.raises(InputError, match=r"two views.*shape \(4, 3.*TwoViews"):
        tiny_moco()(torch.randn(shape))


def test_a_batch_of_one_image_is_refused():
    method = tiny_moco()
    method.check_batch(2)
    with pytest.raises(InputError, match="a batch has 1; give it at least 2"):
        method.check_batch(1)
    with pytest.raises(InputError, match="at least 2"):
        method(torch.randn(1, 2, 3, 32, 32))


@pytest.mark.parametrize("change", [{"temperature": 0.0}, {"momentum": 1.5}, {"momentum": -0.1}])
def test_numbers_out_of_range_are_refused(change):
    (name,) = change
    with pytest.raises(InputError, match=f"ssl_method.method.{name}={change[name]}"):
        tiny_moco(**change)


def test_a_backbone_that_is_no_vision_transformer_is_refused():
    with pytest.raises(InputError, match="ssl=mocov3 needs a plain Vision Transformer.*ResNet.*backbone=vit_base"):
        MoCoV3(partial(timm.create_model, "resnet18"), 8, 4, 0.2, 0.99, True)
