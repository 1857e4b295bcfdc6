"""How published files name their tensors, and what those are called here.

Here a name begins with the part that it belongs to, as in a `SelfSupervisedMethod`: `encoder.`, `decoder.`,
`projector.`, ...; an encoder's own names are those of timm or, where timm lacks it, those of the published code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

_Weights = dict[str, Tensor]


def _as_they_are(weights: _Weights) -> _Weights:
    return weights


@dataclass(frozen=True)
class Layout:
    """The names of one kind of file.

    Attributes:
        name: What it is called in messages.
        marks: Patterns that tell it: each fits the beginning of some name.
        fits: The backbones and methods that take it, in words.
        renamed: Patterns and what takes their place, applied to a name one after the other.
        left_out: Pattern of names that have no part here.
        converted: Changes tensors that mean the same in another order; gets and gives names of ours.
    """

    name: str
    marks: tuple[str, ...]
    fits: str
    renamed: tuple[tuple[str, str], ...]
    left_out: str = r"(?!)"  # none
    converted: Callable[[_Weights], _Weights] = _as_they_are

    def matches(self, names: Mapping[str, Tensor]) -> bool:
        """Whether a file with these names is of this layout."""
        return all(any(re.match(mark, name) for name in names) for mark in self.marks)

    def ours(self, weights: Mapping[str, Tensor]) -> _Weights:
        """The weights by our names."""
        named: _Weights = {}
        for name, value in weights.items():
            if not re.match(self.left_out, name):
                for pattern, replacement in self.renamed:
                    name = re.sub(pattern, replacement, name)
                named[name] = value
        return self.converted(named)


def recognised(weights: Mapping[str, Tensor]) -> Layout:
    """The layout of a file; timm's if it is no other."""
    return next(layout for layout in LAYOUTS if layout.matches(weights))


def _with_registers_apart(weights: _Weights) -> _Weights:
    """DINOv2 has a position for the class token; timm's networks with registers have it added to the token."""
    if "encoder.register_tokens" not in weights:
        return weights
    weights["encoder.reg_token"] = weights.pop("encoder.register_tokens")
    positions = weights["encoder.pos_embed"]
    weights["encoder.cls_token"] = weights["encoder.cls_token"] + positions[:, :1]
    weights["encoder.pos_embed"] = positions[:, 1:]
    return weights


def _with_merging_reordered(weights: _Weights) -> _Weights:
    """Merged 2 x 2 tokens: mmpretrain unfolds them channel by channel, MixMIM joins them token by token.

    mmpretrain's order in a channel is (0, 0), (0, 1), (1, 0), (1, 1) of row and column; MixMIM's order of tokens has
    the second and third exchanged.
    """
    for name, value in weights.items():
        if re.match(r"encoder\.layers\.\d+\.downsample\.", name):
            apart = value.reshape(*value.shape[:-1], -1, 4).transpose(-1, -2)  # (..., 4, C)
            weights[name] = apart[..., [0, 2, 1, 3], :].flatten(-2)
    return weights


_AUTOENCODER = (
    (r"^decoder_", "decoder."),
    (r"^mask_token$", "decoder.mask_token"),
    (r"^(?!decoder\.|stage\d_output_decode\.)", "encoder."),
)
_DINOV2 = (
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # blocks in chunks have their number in the network still
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
    (r"^", "encoder."),
)
_MMPRETRAIN_BLOCKS = (
    (r"\.projection\.", ".proj."),
    (r"\.ln([12])\.", r".norm\1."),
    (r"\.attn\.gamma1\.weight$", ".ls1.gamma"),
    (r"\.ffn\.gamma2\.weight$", ".ls2.gamma"),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
)
_MMPRETRAIN_DECODER = (
    (r"^neck\.ln1\.", "decoder.norm."),
    (r"^neck\.mask_token$", "decoder.mask_token"),
    (r"^neck\.decoder_", "decoder."),
)
_MMPRETRAIN_VIT = (
    (r"^backbone\.", "encoder."),
    (r"^(\w+)\.ln1\.", r"\1.norm."),
    (r"^(\w+)\.ln2\.", r"\1.fc_norm."),
    (r"^(\w+)\.layers\.", r"\1.blocks."),
    *_MMPRETRAIN_BLOCKS,
)
_MMPRETRAIN_MOCO = (
    (r"^momentum_encoder\.module\.0\.", "momentum_encoder."),
    (r"^momentum_encoder\.module\.1\.", "momentum_projector."),
    (r"^neck\.", "projector."),
    (r"^head\.predictor\.", "predictor."),
    # Linear, batch norm, ReLU, three times; each is a place in a sequence.
    *(
        (rf"\.{kind}{layer}\.", f".{3 * layer + shift}.")
        for layer in range(3)
        for shift, kind in enumerate(("fc", "bn"))
    ),
    *_MMPRETRAIN_VIT,
)
_VITS = "a vit_* backbone"

# The first that matches counts, so special ones stand before those with fewer marks.
LAYOUTS = (
    Layout(
        name="MoCo v3",
        marks=(r"base_encoder\.",),
        fits=f"{_VITS}, or ssl=mocov3",
        renamed=(
            (r"^base_encoder\.(head|fc)\.", "projector."),
            (r"^base_encoder\.", "encoder."),
            (r"^momentum_encoder\.(head|fc)\.", "momentum_projector."),
        ),
    ),
    Layout(
        name="mmpretrain's MixMIM",
        marks=(r"backbone\.layers\.0\.blocks\.0\.ln1\.",),
        fits="a mixmim_* backbone, or ssl=mixmim",
        renamed=(*_MMPRETRAIN_DECODER, (r"^backbone\.", "encoder."), *_MMPRETRAIN_BLOCKS),
        left_out=r"head\.",
        converted=_with_merging_reordered,
    ),
    Layout(
        name="mmpretrain's MoCo v3",
        marks=(r"backbone\.layers\.0\.ln1\.", r"neck\.fc0\."),
        fits=f"{_VITS}, or ssl=mocov3",
        renamed=_MMPRETRAIN_MOCO,
        left_out=r"momentum_encoder\.steps$",
    ),
    Layout(
        name="mmpretrain's MAE",
        marks=(r"backbone\.layers\.0\.ln1\.", r"neck\.decoder_embed\."),
        fits=f"{_VITS}, or ssl=mae",
        renamed=(*_MMPRETRAIN_DECODER, *_MMPRETRAIN_VIT),
        left_out=r"head\.",
    ),
    Layout(
        name="mmpretrain's Vision Transformer",
        marks=(r"backbone\.layers\.0\.ln1\.",),
        fits=_VITS,
        renamed=_MMPRETRAIN_VIT,
        left_out=r"head\.",
    ),
    Layout(
        name="DINOv2's teacher (DinoBloom)",
        marks=(r"backbone\.blocks\.", r"backbone\.mask_token$"),
        fits="backbone=dinov2_base or dinov2_small",
        renamed=((r"^backbone\.", ""), *_DINOV2),
        left_out=r"dino_head\.|ibot_head\.|backbone\.mask_token$",
        converted=_with_registers_apart,
    ),
    Layout(
        name="DINOv2",
        marks=(r"mask_token$", r"blocks\.[\d.]+\.ls1\.gamma$"),
        fits="backbone=dinov2_base or dinov2_small",
        renamed=_DINOV2,
        left_out=r"mask_token$",
        converted=_with_registers_apart,
    ),
    Layout(
        name="MixMIM",
        marks=(r"absolute_pos_embed$", r"layers\.0\.blocks\.0\.attn\.relative_position_bias_table$"),
        fits="a mixmim_* backbone, or ssl=mixmim",
        renamed=_AUTOENCODER,
        left_out=r".*\.attn_mask$",  # of shifted windows; the published loader drops them
    ),
    Layout(
        name="ConvMAE",
        marks=(r"patch_embed4\.", r"blocks3\."),
        fits="a convvit_* backbone, or ssl=convmae",
        renamed=_AUTOENCODER,
    ),
    Layout(
        name="MAE",
        marks=(r"cls_token$", r"decoder_embed\."),
        fits=f"{_VITS}, or ssl=mae",
        renamed=_AUTOENCODER,
    ),
    Layout(
        name="a pretraining's checkpoint",
        marks=(r"encoder\.(patch_embed|conv1\.)", r"(decoder|projector)\."),
        fits="the backbone and the ssl method that it is of",
        renamed=(),
    ),
    Layout(
        name="timm's names",
        marks=(),
        fits="the timm network that they are of",
        renamed=((r"^", "encoder."),),
    ),
)
