from functools import partial

import golden_arrays
import numpy as np
import pytest
import timm
import torch
from parity import Case, published_tables
from test_mae import ours as ours_of_mae
from test_mae import published as published_mae

from activessf.errors import InputError
from activessf.methods.decoder import PixelDecoder
from activessf.methods.homologous_attention import SameSource, TopKeys, restricted_attention, restricted_block
from activessf.methods.homologous_contrast import HomologousContrast, supervised_contrast
from activessf.methods.masking import gather, keep_smallest
from activessf.methods.mixedae import MixedAE
from activessf.methods.mixing import mix_evenly, mixed_images, unmixed_tokens
from activessf.training.optimization import parameter_groups

DEFAULTS = {
    "mixing_ratio": 0.25, "attention": "homologous", "plain_blocks": 1, "class_token": "mixture",
    "segment_embedding": "learned", "norm_pix_loss": True,
}  # fmt: skip
# What makes MixedAE do to each image what MAE does to it alone.
DEGENERATE = {"attention": "true_sources", "plain_blocks": 0, "segment_embedding": "none"}


def mixedae(backbone, decoder, counts_self=True, class_tokens_compete=False, contrast=(), **changes):
    numbers = {"weight": 0.1, "temperature": 0.25, "block": None, "projector_dim": None, **dict(contrast)}
    return MixedAE(
        backbone,
        decoder,
        top_keys=partial(TopKeys, counts_self=counts_self, class_tokens_compete=class_tokens_compete),
        contrast=partial(HomologousContrast, **numbers),
        **{**DEFAULTS, **changes},
    )


def tiny_mixedae(**changes):
    backbone = partial(
        timm.create_model, "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=2
    )
    torch.manual_seed(0)
    return mixedae(backbone, partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2), **changes)


# The degenerate case: the same as MAE, whose figures are those of its published code


def anchored(name, run, **changes):
    """MAE with a case's weights, MixedAE with the same, and eight images with noise for two groups; 64 bits."""
    case = Case("mae", name)
    sizes, mae = case.sizes, published_mae(case, run)
    backbone = partial(
        timm.create_model, "vit_base_patch16_224", img_size=sizes["image_size"], patch_size=sizes["patch_size"],
        embed_dim=sizes["embed_dim"], depth=sizes["depth"], num_heads=sizes["heads"],
    )  # fmt: skip
    decoder = partial(
        PixelDecoder,
        embed_dim=sizes["decoder_dim"],
        depth=sizes["decoder_depth"],
        num_heads=sizes["decoder_heads"],
    )
    method = mixedae(backbone, decoder, contrast={"weight": 0.0}, norm_pix_loss=run == "norm_pix=on", **changes)
    method = method.double()
    own = method.state_dict()
    weights = {key: value for key, value in mae.state_dict().items() if value.shape == own[key].shape}
    assert set(own) - set(weights) <= {"decoder.pos_embed", "segment_embed"}
    method.load_state_dict({**own, **weights})
    size, L = sizes["image_size"], mae.encoder.patch_embed.num_patches
    images = torch.from_numpy(golden_arrays.images("mixedae/images", (8, 3, size, size)))
    noise = torch.from_numpy(golden_arrays.noise("mixedae", (2, L)))
    return mae, method, images, noise


def noise_of_each_image(noise, num_sources=4):
    """Noise (N, L) with which MAE keeps of each image the cells that the mixture has of it."""
    ranks, L = noise.argsort(dim=1).argsort(dim=1), noise.shape[1]
    shifted = [(ranks[g] - i * L // num_sources) % L for g in range(len(noise)) for i in range(num_sources)]
    return torch.stack(shifted).double()


@pytest.mark.parametrize(
    ("name", "run"), [("mae-a", "norm_pix=on"), ("mae-b", "norm_pix=on"), ("mae-b", "norm_pix=off")]
)
def test_where_tokens_see_their_own_image_alone_each_image_is_autoencoded_as_by_mae(name, run):
    mae, method, images, noise = anchored(name, run, class_token="source", **DEGENERATE)
    assert set(method.state_dict()) == set(mae.state_dict())
    alone = noise_of_each_image(noise)
    tokens, masking = mae.encode(images, alone)
    encoded = method.encode(images, noise)
    assert torch.equal(encoded.mixing.masking.mask, masking.mask)
    assert torch.equal(encoded.mixing.masking.kept, masking.kept)
    own = unmixed_tokens(encoded.tokens, encoded.mixing, 4)
    assert deviation(own, tokens) < 1e-12
    assert deviation(method.predict(encoded), mae.decoder(mae.decoder.restored(tokens, masking.restore))) < 1e-12
    expected, loss = mae(images, 0.0, alone), method(images, 0.0, noise)
    assert abs(loss.item() - expected.item()) < 1e-12
    expected.backward()
    loss.backward()
    gradients = {key: value.grad for key, value in method.named_parameters() if value.grad is not None}
    largest = max(value.abs().max() for value in gradients.values())
    for key, value in mae.named_parameters():
        assert (value.grad is None) == (key not in gradients)
        assert value.grad is None or deviation(gradients[key], value.grad) < 1e-11 * largest, key


def deviation(found, expected):
    assert found.shape == expected.shape
    return (found - expected).abs().max().item()


def test_without_class_tokens_each_image_is_autoencoded_as_by_mae_without_its_own():
    mae, method, images, noise = anchored("mae-b", "norm_pix=on", class_token="none", **DEGENERATE)
    masking = keep_smallest(noise_of_each_image(noise), method.top_keys.num_keys)
    tokens = gather(mae.encoder.patch_embed(images) + mae.encoder.pos_embed[:, 1:], masking.kept)
    for block in mae.encoder.blocks:
        tokens = block(tokens)
    tokens = mae.encoder.norm(tokens)
    encoded = method.encode(images, noise)
    assert deviation(unmixed_tokens(encoded.tokens, encoded.mixing, 0), tokens) < 1e-12
    decoder = mae.decoder
    decoder.num_prefix_tokens, decoder.pos_embed.data = 0, decoder.pos_embed.data[:, 1:]
    assert deviation(method.predict(encoded), decoder(decoder.restored(tokens, masking.restore))) < 1e-12


@pytest.mark.parametrize(
    "change",
    [
        {"attention": "all"},
        {"attention": "homologous"},
        {"plain_blocks": 1},
        {"segment_embedding": "learned"},
        {"class_token": "mixture"},
        {"class_token": "none"},
    ],
)
def test_any_other_setting_is_not_mae(change):
    mae, method, images, noise = anchored("mae-b", "norm_pix=on", **{**DEGENERATE, "class_token": "source", **change})
    expected = mae(images, 0.0, noise_of_each_image(noise)).item()
    assert abs(method(images, 0.0, noise).item() - expected) > 1e-6


# Mixing and unmixing, cell by cell


def test_every_image_gives_as_many_cells_to_its_mixture():
    mixing = mix_evenly(torch.rand(5, 36), 4)
    for sources in mixing.sources:
        assert torch.bincount(sources).tolist() == [9] * 4
    for number, (kept, mask) in enumerate(zip(mixing.masking.kept, mixing.masking.mask, strict=True)):
        group, source = divmod(number, 4)
        own = (mixing.sources[group] == source).nonzero()[:, 0].tolist()
        assert sorted(kept.tolist()) == own
        assert mask.nonzero()[:, 0].tolist() == [cell for cell in range(36) if cell not in own]


def test_the_smallest_noise_is_of_the_first_image():
    noise = torch.tensor([[0.9, 0.1, 0.6, 0.3, 0.2, 0.8]])
    mixing = mix_evenly(noise, 3)
    assert mixing.sources.tolist() == [[2, 0, 1, 1, 0, 2]]
    assert mixing.masking.kept.tolist() == [[1, 4], [3, 2], [5, 0]]
    assert mixing.masking.restore[1].tolist() == [3, 4, 1, 0, 5, 2]  # cells 3 and 2 first, then 5, 0, 1, 4


def test_a_mixture_has_each_cell_from_its_source():
    images, mixing = torch.randn(8, 3, 6, 8), mix_evenly(torch.rand(2, 12), 4)
    mixtures = mixed_images(images, mixing.sources, 2)
    assert mixtures.shape == (2, 3, 6, 8)
    for group in range(2):
        for cell in range(12):
            row, column = divmod(cell, 4)
            place = (slice(None), slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2))
            source = int(mixing.sources[group, cell])
            assert torch.equal(mixtures[group][place], images[4 * group + source][place])


@pytest.mark.parametrize("num_class_tokens", [0, 1, 4])
def test_each_image_gets_its_own_tokens_back(num_class_tokens):
    mixing, tokens = mix_evenly(torch.rand(2, 12), 4), torch.randn(2, num_class_tokens + 12, 5)
    own = unmixed_tokens(tokens, mixing, num_class_tokens)
    assert own.shape == (8, bool(num_class_tokens) + 3, 5)
    for number in range(8):
        group, source = divmod(number, 4)
        cells = own[number]
        if num_class_tokens:
            expected = tokens[group, source if num_class_tokens == 4 else 0]
            assert torch.equal(cells[0], expected)
            cells = cells[1:]
        for token, cell in zip(cells, mixing.masking.kept[number], strict=True):
            assert mixing.sources[group, cell] == source
            assert torch.equal(token, tokens[group, num_class_tokens + cell])


def test_the_decoder_puts_tokens_where_they_were_and_mask_tokens_elsewhere():
    method = tiny_mixedae()
    encoded = method.encode(torch.randn(8, 3, 32, 32))
    masking = encoded.mixing.masking
    own = unmixed_tokens(encoded.tokens, encoded.mixing, 1)
    restored = method.decoder.restored(own, masking.restore)
    for number in range(8):
        for cell in range(16):
            if masking.mask[number, cell]:
                expected = method.decoder.mask_token[0, 0]
            else:
                expected = method.decoder.embed(encoded.tokens[number // 4, 1 + cell])
            assert torch.allclose(restored[number, 1 + cell], expected, atol=1e-5)


def test_the_loss_sees_what_the_mixture_has_of_other_images():
    method = tiny_mixedae(norm_pix_loss=False, contrast={"weight": 0.0})
    images, noise = torch.randn(4, 3, 32, 32), torch.rand(1, 16)
    encoded = method.encode(images, noise)
    prediction, errors = method.predict(encoded), []
    for number in range(4):
        for cell in range(16):
            if encoded.mixing.sources[0, cell] != number:
                row, column = divmod(cell, 4)
                target = images[number, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].permute(1, 2, 0)
                errors.append((prediction[number, cell] - target.flatten()).square().mean().item())
    assert len(errors) == 48
    assert method(images, 0.0, noise).item() == pytest.approx(np.mean(errors), rel=1e-5)


# Attention, query by query


def attention_by_loops(attention, tokens, sees):
    """Attention where query q of head h sees the keys that `sees(logits of q, q)` lists."""
    N, T, D = tokens.shape
    width = D // attention.num_heads
    output = torch.empty(N, T, D, dtype=tokens.dtype)
    for n in range(N):
        queries, keys, values = attention.qkv(tokens[n]).reshape(T, 3, attention.num_heads, width).unbind(1)
        for head in range(attention.num_heads):
            for q in range(T):
                logits = [(queries[q, head] @ keys[k, head]).item() / np.sqrt(width) for k in range(T)]
                seen = sees(logits, q)
                weights = np.exp([logits[k] for k in seen])
                mixed = sum(w * values[k, head] for w, k in zip(weights / weights.sum(), seen, strict=True))
                output[n, q, head * width : (head + 1) * width] = mixed
    return attention.proj(output)


@pytest.mark.parametrize("compete", [True, False])
@pytest.mark.parametrize("counts_self", [True, False])
@pytest.mark.parametrize("num_class_tokens", [0, 1, 4])
def test_homologous_attention_by_loops(num_class_tokens, counts_self, compete):
    T, num_keys = num_class_tokens + 8, 3
    block = perturbed_block()
    tokens = torch.randn(2, T, 12, dtype=torch.float64)
    always = [] if compete else list(range(num_class_tokens))

    def sees(logits, q):
        if q in always:
            return list(range(T))
        rivals = [k for k in range(T) if k not in always and (counts_self or k != q)]
        best = sorted(rivals, key=lambda k: -logits[k])[:num_keys]
        return sorted(set(best) | set(always) | (set() if counts_self else {q}))

    rule = TopKeys(num_keys, num_class_tokens, counts_self, compete)
    found = restricted_attention(block.attn, tokens, rule)
    assert deviation(found, attention_by_loops(block.attn, tokens, sees)) < 1e-12


def test_attention_to_true_sources_by_loops():
    block, tokens = perturbed_block(), torch.randn(1, 7, 12, dtype=torch.float64)
    sources = [-1, 0, 1, 1, 0, 2, 2]

    def sees(logits, q):
        return [k for k in range(7) if sources[q] == -1 or sources[k] in (-1, sources[q])]

    found = restricted_attention(block.attn, tokens, SameSource(torch.tensor([sources])))
    assert deviation(found, attention_by_loops(block.attn, tokens, sees)) < 1e-12


@pytest.mark.parametrize("num_keys", [9, 100])
def test_where_the_best_keys_are_all_keys_attention_is_plain(num_keys):
    block = perturbed_block()
    for counts_self in (True, False):
        for compete in (True, False):
            tokens = torch.randn(2, 9, 12, dtype=torch.float64)
            rule = TopKeys(num_keys, 1, counts_self, compete)
            assert deviation(restricted_block(block, tokens, rule), block(tokens)) < 1e-12


def test_a_method_with_as_many_best_keys_as_cells_has_plain_attention():
    images, noise = torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.rand(1, 16)
    method, plain = tiny_mixedae().double(), tiny_mixedae(attention="all").double()
    assert abs(method(images, 0.0, noise) - plain(images, 0.0, noise)) > 1e-6
    method.top_keys = TopKeys(16, 1, True, False)
    assert abs(method(images, 0.0, noise) - plain(images, 0.0, noise)) < 1e-12


def test_plain_blocks_come_first():
    images, noise = torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.rand(1, 16)
    every, none, one = (
        tiny_mixedae(plain_blocks=number).double().encode(images, noise).block_outputs for number in (3, 0, 1)
    )
    assert torch.equal(one[0], every[0]) and not torch.allclose(none[0], every[0])
    assert not torch.allclose(one[1], every[1])


def perturbed_block():
    network = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=12, depth=1, num_heads=3, num_classes=0
    )
    torch.manual_seed(1)
    for value in network.parameters():
        value.data.add_(0.3 * torch.randn_like(value))
    return network.double().blocks[0]


# The contrast


def test_the_contrast_by_loops():
    features = torch.randn(2, 6, 5, dtype=torch.float64)
    labels = torch.tensor([[0, 1, 0, 2, 1, 2], [0, 0, 0, 1, 1, 1]])
    losses = []
    for g in range(2):
        for i in range(6):
            cosines = [
                (features[g, i] @ features[g, j] / (features[g, i].norm() * features[g, j].norm())).item() / 0.25
                for j in range(6)
            ]
            others = [j for j in range(6) if j != i]
            total = np.log(sum(np.exp(cosines[j]) for j in others))
            losses.append(-np.mean([cosines[j] - total for j in others if labels[g, j] == labels[g, i]]))
    assert supervised_contrast(features, labels, 0.25).item() == pytest.approx(np.mean(losses), abs=1e-12)


def test_the_contrast_is_added_with_its_weight():
    images, noise = torch.randn(4, 3, 32, 32), torch.rand(1, 16)
    with_it, without = tiny_mixedae(contrast={"weight": 0.3}), tiny_mixedae(contrast={"weight": 0.0})
    encoded = with_it.encode(images, noise)
    contrast = supervised_contrast(encoded.tokens[:, 1:], encoded.mixing.sources, 0.25)
    assert with_it(images, 0.0, noise).item() == pytest.approx(
        without(images, 0.0, noise).item() + 0.3 * contrast.item(), rel=1e-6
    )


def test_the_contrast_may_be_of_a_block_and_through_a_projector():
    images, noise = torch.randn(4, 3, 32, 32), torch.rand(1, 16)
    numbers = {"weight": 0.3, "block": 1, "projector_dim": 8}
    method, without = tiny_mixedae(contrast=numbers), tiny_mixedae(contrast={**numbers, "weight": 0.0})
    encoded = method.encode(images, noise)
    features = method.contrast.projector(encoded.block_outputs[1][:, 1:])
    assert features.shape == (1, 16, 8)
    contrast = supervised_contrast(features, encoded.mixing.sources, 0.25)
    assert method(images, 0.0, noise).item() == pytest.approx(
        without(images, 0.0, noise).item() + 0.3 * contrast.item(), rel=1e-6
    )


# What reaches what


@pytest.mark.parametrize("class_token", ["source", "none"])
def test_where_tokens_see_their_own_image_alone_the_others_do_not_reach_them(class_token):
    method = tiny_mixedae(**DEGENERATE, class_token=class_token).eval()
    images, noise = torch.randn(4, 3, 32, 32), torch.rand(1, 16)
    changed = images.clone()
    changed[1] += 1
    before, after = method.encode(images, noise), method.encode(changed, noise)
    cells = slice(method.num_class_tokens, None)
    same = (before.tokens[0, cells] == after.tokens[0, cells]).all(dim=1)
    assert same.tolist() == [source != 1 for source in before.mixing.sources[0].tolist()]


def test_pixels_that_are_not_in_the_mixture_do_not_reach_the_encoder():
    method = tiny_mixedae().eval()
    images, noise = torch.randn(4, 3, 32, 32), torch.arange(16.0)[None]
    changed = images.clone()
    changed[0, :, 8:] += 1  # the first image gives the first row of cells
    assert torch.equal(method.encode(images, noise).tokens, method.encode(changed, noise).tokens)


def test_groups_do_not_reach_each_other():
    method = tiny_mixedae().eval()
    images, noise = torch.randn(8, 3, 32, 32), torch.rand(2, 16)
    changed = images.clone()
    changed[4:] += 1
    before, after = method.encode(images, noise).tokens, method.encode(changed, noise).tokens
    assert torch.equal(before[0], after[0]) and not torch.equal(before[1], after[1])


def test_the_place_in_a_group_matters_through_the_segment_embedding_alone():
    images, noise = torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.rand(1, 16)
    # The next image takes the cells that were the first's.
    moved = (noise.argsort(dim=1).argsort(dim=1) + 4) % 16
    for segment_embedding, same in (("none", True), ("learned", False)):
        method = tiny_mixedae(segment_embedding=segment_embedding).double()
        before, after = method(images, 0.0, noise), method(images.roll(1, 0), 0.0, moved)
        assert (abs(before.item() - after.item()) < 1e-12) == same


def test_the_encoder_sees_a_sequence_of_all_cells_for_each_group():
    for class_token, length in (("mixture", 17), ("source", 20), ("none", 16)):
        encoded = tiny_mixedae(class_token=class_token).encode(torch.randn(8, 3, 32, 32))
        assert encoded.tokens.shape == (2, length, 32)


@pytest.mark.parametrize("class_token", ["mixture", "source", "none"])
def test_tokens_carry_position_and_segment_of_their_image(class_token):
    method, images = tiny_mixedae(class_token=class_token), torch.randn(8, 3, 32, 32)
    entering = []
    method.encoder.blocks[0].register_forward_pre_hook(lambda block, inputs: entering.append(inputs[0]))
    mixing = method.encode(images).mixing
    patches = method.encoder.patch_embed(images)
    for group in range(2):
        tokens = list(entering[0][group])
        for i in range(method.num_class_tokens):
            segment = method.segment_embed[i] if class_token == "source" else 0.0
            assert torch.allclose(tokens.pop(0), method.encoder.cls_token[0, 0] + segment, atol=1e-6)
        for cell, token in enumerate(tokens):
            source = int(mixing.sources[group, cell])
            expected = patches[4 * group + source, cell] + method.encoder.pos_embed[0, 1 + cell]
            assert torch.allclose(token, expected + method.segment_embed[source], atol=1e-5)


# Parameters and training


CHOICES = [
    {},
    {"attention": "all"},
    {"attention": "true_sources"},
    {"class_token": "source"},
    {"class_token": "none"},
    {"segment_embedding": "frozen"},
    {"segment_embedding": "none"},
    {"counts_self": False, "class_tokens_compete": True},
    {"contrast": {"block": 0, "projector_dim": 8}},
    {"mixing_ratio": 0.5},
]


@pytest.mark.parametrize("changes", CHOICES)
def test_every_parameter_that_should_train_has_a_gradient_and_no_other(changes):
    method = tiny_mixedae(**changes)
    method(torch.randn(8, 3, 32, 32)).backward()
    frozen = {"encoder.pos_embed", "decoder.pos_embed"}
    if changes.get("class_token") == "none":
        frozen.add("encoder.cls_token")
    if changes.get("segment_embedding") == "frozen":
        frozen.add("segment_embed")
    for name, parameter in method.named_parameters():
        assert parameter.requires_grad == (name not in frozen), name
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert ("segment_embed" in method.state_dict()) == (changes.get("segment_embedding") != "none")


def test_the_loss_falls():
    method = tiny_mixedae(norm_pix_loss=False)
    images = torch.randn(8, 3, 1, 1).expand(-1, -1, 32, 32) + 0.1 * torch.randn(8, 3, 32, 32)
    optimizer = torch.optim.AdamW(parameter_groups(method.encoder, method._others(), 3e-3, 0.0, 1.0))
    losses = []
    for _ in range(40):
        loss = method(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_the_encoder_that_is_handed_on_is_a_plain_vision_transformer():
    method = tiny_mixedae()
    plain = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=2, num_classes=0
    )
    plain.load_state_dict(method.encoder.state_dict())


def test_base_size_has_the_parameters_of_mae_and_segment_embeddings():
    with torch.device("meta"):  # shapes alone
        method = mixedae(
            partial(timm.create_model, "vit_base_patch16_224"),
            partial(PixelDecoder, embed_dim=512, depth=8, num_heads=16),
        )
    expected = published_tables()["methods"]["mae"]["pretraining"]
    shapes = {name: list(value.shape) for name, value in method.state_dict().items()}
    assert shapes.pop("segment_embed") == [4, 768]
    assert shapes == {ours_of_mae(name): shape for name, shape in expected["keys"].items()}
    assert method.segment_embed.requires_grad and method.top_keys.num_keys == 49


def test_first_weights_are_drawn_as_in_mae():
    method = tiny_mixedae(contrast={"projector_dim": 8})
    for module in (method.encoder.blocks[0].attn.qkv, method.decoder.embed, method.contrast.projector.fc1):
        bound = np.sqrt(6 / sum(module.weight.shape))
        assert 0.9 * bound < module.weight.abs().max() <= bound and (module.bias == 0).all()
    projection = method.encoder.patch_embed.proj
    assert 0.9 < projection.weight.abs().max() / np.sqrt(6 / (3 * 8**2 + 32)) <= 1 and (projection.bias != 0).any()
    for token in (method.encoder.cls_token, method.decoder.mask_token):
        assert token.std().item() == pytest.approx(0.02, rel=0.5)


def test_first_segment_embeddings_are_small_and_differ():
    drawn = tiny_mixedae(mixing_ratio=0.0625, contrast={"weight": 0.0}).segment_embed
    assert drawn.shape == (16, 32) and drawn.std().item() == pytest.approx(0.02, rel=0.2)


def test_half_precision_gives_nearly_the_same_loss():
    images, noise = torch.randn(4, 3, 32, 32), torch.rand(1, 16)
    method = tiny_mixedae(attention="true_sources")
    expected = method(images, 0.0, noise).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = method(images, 0.0, noise)
        assert torch.isfinite(tiny_mixedae()(images, 0.0, noise))
    assert loss.item() == pytest.approx(expected, rel=0.02)


# What can't be used


def test_a_batch_that_is_not_made_of_groups_is_refused():
    method = tiny_mixedae()
    method.check_batch(8)
    assert method.batch_multiple == 4
    with pytest.raises(InputError, match="mixes 4 images.*a batch has 6; give it a multiple of 4"):
        method.check_batch(6)
    with pytest.raises(InputError, match="a batch has 3; give it a multiple of 4"):
        method(torch.randn(3, 3, 32, 32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixing_ratio": 0.3}, "mixing_ratio=0.3 must be 1 over a whole number"),
        ({"mixing_ratio": 1.0}, "mixing_ratio=1.0 must be 1 over a whole number"),
        ({"mixing_ratio": 0.0}, "mixing_ratio=0.0 must be 1 over a whole number"),
        ({"mixing_ratio": 0.2}, "mixing_ratio=0.2 deals the 16 patches of an image to 5 images"),
        ({"mixing_ratio": 0.0625}, "a single one in its mixture"),
        ({"attention": "some"}, "attention=some must be homologous, all or true_sources"),
        ({"class_token": "one"}, "class_token=one must be mixture, source or none"),
        ({"segment_embedding": "fixed"}, "segment_embedding=fixed must be learned, frozen or none"),
        ({"plain_blocks": 4}, "plain_blocks=4 must be 0 to 3"),
        ({"plain_blocks": -1}, "plain_blocks=-1 must be 0 to 3"),
        ({"contrast": {"block": 3}}, "contrast.block=3 must be null or 0 to 2"),
        ({"contrast": {"weight": -1.0}}, "contrast.weight=-1.0 must be 0 or more"),
        ({"contrast": {"temperature": 0.0}}, "contrast.temperature=0.0 must be above 0"),
    ],
)
def test_settings_that_can_not_be_used_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        tiny_mixedae(**changes)


def test_a_backbone_that_is_no_vision_transformer_is_refused():
    decoder = partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2)
    with pytest.raises(InputError, match="ssl=mixedae needs a plain Vision Transformer.*ResNet.*backbone=vit_base"):
        mixedae(partial(timm.create_model, "resnet18"), decoder)
