"""Starting weights out of published files: for an encoder, or for a whole self-supervised method."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from activessf.checkpoints.fitting import Fit, fit_encoder, fit_part, position_prefix
from activessf.checkpoints.heads import attention_heads, could_have, told_heads
from activessf.checkpoints.layouts import Layout, recognised
from activessf.checkpoints.reading import read_checkpoint
from activessf.errors import InputError
from activessf.methods.method import SelfSupervisedMethod

_ENCODER, _DECODER = "encoder", "decoder"
# What files may have besides an encoder, and an encoder alone does not need.
_OTHER_PARTS = (
    *(_DECODER, "stage1_output_decode", "stage2_output_decode"),
    *("projector", "predictor", "momentum_encoder", "momentum_projector"),
    *("segment_embed", "contrast"),
)
_COPY = "momentum_"  # such a part starts as a copy where the file lacks it
# Published files tell no heads. The ViT-S of MoCo v3 has twice as many as timm's, of MAE's, ConvMAE's and MixMIM's
# decoders all have the same width and heads.
_MOCO_SMALL_DIM, _MOCO_SMALL_HEADS = 384, 12
_DECODER_DIM, _DECODER_HEADS = 512, 16


@dataclass(frozen=True)
class LoadReport:
    """What was taken from a file.

    Attributes:
        path: The file.
        layout: The names that it was read by.
        loaded: Parts that have its weights, whole.
        fresh: Parts, or names of the encoder, that the file lacks and that keep their fresh weights.
        unused: Parts of the file that were not needed.
        resized: Position tables that were of another grid, with both shapes.
    """

    path: Path
    layout: str
    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    resized: tuple[str, ...]

    def __str__(self) -> str:
        """A sentence for the log."""
        told = [f"Starting from {self.path} ({self.layout}): {', '.join(self.loaded)}"]
        for what, names in (("fresh", self.fresh), ("not used", self.unused), ("resized", self.resized)):
            if names:
                told.append(f"{what}: {', '.join(names)}")
        return "; ".join(told) + "."


def load_encoder(network: nn.Module, path: str | Path) -> LoadReport:
    """Give an encoder the weights of a published file.

    Args:
        network: An encoder of timm or of `activessf.backbones`, with or without a classifier, which stays fresh.
        path: The file; see `layouts.LAYOUTS` for what is known. Its other parts (decoder, projector) are not used.

    Raises:
        InputError: The file can't be read, or is not of this network. The network is unchanged then.
    """
    layout, parts = _read(Path(path))
    if _ENCODER not in parts or set(parts) - {_ENCODER, *_OTHER_PARTS}:
        raise _refusal(path, layout, _kind(network), _strangers(parts, (_ENCODER, *_OTHER_PARTS)))
    _check_heads(network, layout, path)
    fit = fit_encoder(network, parts[_ENCODER])
    _check_fit(fit, path, layout, _kind(network))
    network.load_state_dict(dict(fit.weights), strict=False)
    unused = tuple(part for part in parts if part != _ENCODER)
    return LoadReport(Path(path), layout.name, (_ENCODER,), fit.fresh, unused, fit.resized)


def load_method(method: SelfSupervisedMethod, path: str | Path) -> LoadReport:
    """Give a self-supervised method the weights of a published file, each part of it whole.

    A file with the encoder alone is fine; decoder, projector and predictor then start fresh, and momentum networks as
    copies.

    Args:
        method: The method; its parts have the names of ours, see `layouts`.
        path: The file.

    Raises:
        InputError: The file can't be read, or has another method's parts or sizes. The method is unchanged then.
    """
    layout, parts = _read(Path(path))
    own = _by_part(method.state_dict())
    kind = f"{type(method).__name__} with a {_kind(method.encoder)}"
    if _ENCODER not in parts or set(parts) - set(own):
        cure = "" if _ENCODER not in parts else f"to start its encoder alone, use backbone.checkpoint={path}"
        raise _refusal(path, layout, kind, _strangers(parts, tuple(own)), cure)
    _check_heads(method.encoder, layout, path)
    _check_decoder_heads(getattr(method, _DECODER, None), parts.get(_DECODER), layout, path)
    fits = {part: _fit_part(method, part, own[part], weights) for part, weights in parts.items()}
    for part, fit in fits.items():
        _check_fit(fit, path, layout, kind, "" if part == _ENCODER else f"{part}.")
    for copies in (False, True):
        # What has no copy in the file gets one of what was loaded, before the copies of the file are put in place.
        ready = _named({part: fit.weights for part, fit in fits.items() if part.startswith(_COPY) == copies})
        method.load_state_dict(ready, strict=False)
        if not copies:
            method.encoder_replaced()
    fresh = tuple(part for part in own if part not in parts and not part.startswith(_COPY))
    tables = tuple(f"{part}.{table}" for part, fit in fits.items() for table in fit.resized)
    return LoadReport(Path(path), layout.name, tuple(parts), fresh + fits[_ENCODER].fresh, (), tables)


def _read(path: Path) -> tuple[Layout, dict[str, dict[str, Tensor]]]:
    weights = read_checkpoint(path)
    layout = recognised(weights)
    return layout, _by_part(layout.ours(weights))


def _by_part(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = value
    return parts


def _named(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The inverse of `_by_part`; a part that is one tensor has no further name."""
    return {
        f"{part}.{name}" if name else part: value for part, weights in parts.items() for name, value in weights.items()
    }


def _fit_part(method: SelfSupervisedMethod, part: str, own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Fit:
    if part == _ENCODER:
        return fit_encoder(method.encoder, weights)
    return fit_part(own, weights, position_prefix(getattr(method, part, None)))


def _check_fit(fit: Fit, path: str | Path, layout: Layout, kind: str, prefix: str = "") -> None:
    if fit.whole:
        return
    what = f"its {prefix.rstrip('.')} is not this one: {fit.complaint}" if prefix else fit.complaint
    cure = ""
    if not prefix and fit.pooled_alone:
        cure = (
            "its norm stands behind the mean of the tokens (fc_norm), as in classifiers with "
            "ssl.finetuning_pool=avg, and the encoder's own is gone: start from the pretraining that it came from"
        )
    if fit.misshapen and not (fit.missing or fit.surplus):
        cure = (
            "set recipe.pretraining.decoder as the file has it, or start the encoder alone by "
            f"backbone.checkpoint={path}"
            if prefix == "decoder."
            else "choose the size of backbone (or head) and the recipe.patch_size that the file was made with"
        )
    raise _refusal(path, layout, kind, what, cure)


def _check_heads(network: nn.Module, layout: Layout, path: str | Path) -> None:
    """Check what a file tells of its heads, or what is known of the published ones, by the encoder."""
    own = attention_heads(network)
    told = told_heads(Path(path).expanduser())
    if not could_have(network, told):  # whoever wrote that, it is not of this network's heads
        told = ()
    if not told and "MoCo v3" in layout.name and getattr(network, "embed_dim", None) == _MOCO_SMALL_DIM:
        told = (_MOCO_SMALL_HEADS,) * len(own)
    if told and len(told) == len(own) and told != own:  # of another depth tensors are missing or left over
        raise _other_heads(path, layout, "encoder", told, own, "++backbone.num_heads")


def _check_decoder_heads(
    decoder: nn.Module | None, weights: Mapping[str, Tensor] | None, layout: Layout, path: str | Path
) -> None:
    if decoder is None or weights is None or "mask_token" not in weights:
        return
    own = attention_heads(decoder)
    told = (_DECODER_HEADS,) * len(own)
    if weights["mask_token"].shape[-1] == _DECODER_DIM and told != own:
        raise _other_heads(path, layout, _DECODER, told, own, "recipe.pretraining.decoder.num_heads")


def _other_heads(
    path: str | Path, layout: Layout, part: str, told: tuple[int, ...], own: tuple[int, ...], setting: str
) -> InputError:
    return InputError(
        f"{path} ({layout.name}): its {part} has {_listed(told)} attention heads and the network's {_listed(own)}: all "
        f"tensors would fit, and mean something else; set {setting}={_listed(told)}."
    )


def _listed(heads: tuple[int, ...]) -> str:
    """One number if all are the same, else those of the stages."""
    stages = [str(count) for count, _ in itertools.groupby(heads)]
    return stages[0] if len(stages) == 1 else f"[{','.join(stages)}]"


def _strangers(parts: Mapping[str, Mapping[str, Tensor]], known: tuple[str, ...]) -> str:
    if _ENCODER not in parts:
        return "it has no encoder"
    names = _named({part: weights for part, weights in parts.items() if part not in known})
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"left over: {', '.join(list(names)[:3])}{more}"


def _refusal(path: str | Path, layout: Layout, kind: str, complaint: str, cure: str = "") -> InputError:
    return InputError(
        f"{path}, read as {layout.name}, doesn't fit the {kind} ({complaint}); such files are for {layout.fits}"
        + (f"; {cure}." if cure else ".")
    )


def _kind(network: nn.Module) -> str:
    return type(network).__name__
