"""Names of published files, transcribed from our names; written apart from what reads such files."""

import torch


def original_autoencoder(state):
    """MAE, ConvMAE and MixMIM: the encoder's names as they are, decoder_* and mask_token beside them."""
    names = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        if part == "encoder":
            names[rest] = value
        elif name == "decoder.mask_token":
            names["mask_token"] = value
        elif part == "decoder":
            names["decoder_" + rest] = value
        else:
            names[name] = value
    return names


def original_moco(state):
    heads = {
        "encoder": "base_encoder", "projector": "base_encoder.head", "predictor": "predictor",
        "momentum_encoder": "momentum_encoder", "momentum_projector": "momentum_encoder.head",
    }  # fmt: skip
    return {
        f"module.{heads[part]}.{rest}": value
        for (part, _, rest), value in ((name.partition("."), value) for name, value in state.items())
    }


def mmpretrain_block(name):
    for ours, theirs in (
        ("norm1.", "ln1."), ("norm2.", "ln2."), ("mlp.fc1.", "ffn.layers.0.0."), ("mlp.fc2.", "ffn.layers.1."),
    ):  # fmt: skip
        name = name.replace(ours, theirs)
    return name


def mmpretrain_vit(encoder, prefix="backbone."):
    """A Vision Transformer's names; the last norm is ln1, that of pooled tokens ln2."""
    names = {}
    for name, value in encoder.items():
        first, _, rest = name.partition(".")
        if first == "blocks":
            name = mmpretrain_block(f"layers.{rest}")
        elif first in ("norm", "fc_norm"):
            name = f"{'ln1' if first == 'norm' else 'ln2'}.{rest}"
        names[prefix + name.replace("patch_embed.proj.", "patch_embed.projection.")] = value
    return names


def part_of(state, part):
    return {name.removeprefix(f"{part}."): value for name, value in state.items() if name.startswith(f"{part}.")}


def mmpretrain_decoder(decoder):
    names = {}
    for name, value in decoder.items():
        if name == "mask_token":
            names["neck.mask_token"] = value
        elif name.startswith("norm."):
            names[f"neck.ln1.{name.removeprefix('norm.')}"] = value
        else:
            names["neck.decoder_" + (mmpretrain_block(name) if name.startswith("blocks.") else name)] = value
    return names


def mmpretrain_mae(state):
    return {**mmpretrain_vit(part_of(state, "encoder")), **mmpretrain_decoder(part_of(state, "decoder"))}


def mmpretrain_moco(state):
    places = {"0": "fc0", "1": "bn0", "3": "fc1", "4": "bn1", "6": "fc2", "7": "bn2"}

    def perceptron(part, prefix):
        split = ((name.partition("."), value) for name, value in part_of(state, part).items())
        return {f"{prefix}{places[place]}.{rest}": value for (place, _, rest), value in split}

    return {
        **mmpretrain_vit(part_of(state, "encoder")),
        **mmpretrain_vit(part_of(state, "momentum_encoder"), "momentum_encoder.module.0."),
        **perceptron("projector", "neck."),
        **perceptron("momentum_projector", "momentum_encoder.module.1."),
        **perceptron("predictor", "head.predictor."),
        "momentum_encoder.steps": torch.tensor(3),
    }


def mmpretrain_mixmim(state):
    names = mmpretrain_decoder(part_of(state, "decoder"))
    for name, value in part_of(state, "encoder").items():
        if ".downsample." in name:
            value = unfolded(value)
        name = mmpretrain_block(name) if name.startswith("layers.") and ".blocks." in name else name
        names["backbone." + name.replace("patch_embed.proj.", "patch_embed.projection.")] = value
    return names


def unfolded(value):
    """Last axis from token by token, (0, 0), (1, 0), (0, 1), (1, 1), to what nn.Unfold gives, channel by channel."""
    channels = value.shape[-1] // 4
    result = torch.empty_like(value)
    for token, (row, column) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        for channel in range(channels):
            result[..., 4 * channel + 2 * row + column] = value[..., token * channels + channel]
    return result


def dinov2(encoder, registers=False):
    """Positions have a row for the class token; a mask token stands beside."""
    names = dict(encoder, mask_token=torch.zeros(1, encoder["cls_token"].shape[-1]))
    if registers:
        names["register_tokens"] = names.pop("reg_token")
        row = torch.full_like(names["cls_token"], 0.25)
        names["cls_token"] = names["cls_token"] - row
        names["pos_embed"] = torch.cat([row, names["pos_embed"]], dim=1)
    return names


def dinobloom(encoder):
    heads = {"dino_head.mlp.0.weight": torch.zeros(2, 2), "ibot_head.mlp.0.weight": torch.zeros(2, 2)}
    return {"teacher": {**{f"backbone.{name}": value for name, value in dinov2(encoder).items()}, **heads}}
