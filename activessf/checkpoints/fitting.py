"""What of a file's weights a network takes, and whether that is all that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from activessf.checkpoints.positions import INDEX, resized

_NORM, _POOLED_NORM = "norm.", "fc_norm."
# Counts the batches behind running statistics; files of older PyTorch have none, and nothing computes with it.
_COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class Fit:
    """Weights set against a part of a network.

    Attributes:
        weights: What the part takes, by its own names, positions resized.
        fresh: Names that keep their fresh weights, as they may.
        resized: Position tables that were of another grid, with both shapes.
        missing: Names that the file lacks.
        surplus: Names that the part lacks.
        misshapen: Names of another shape, with both shapes.
    """

    weights: Mapping[str, Tensor]
    fresh: tuple[str, ...]
    resized: tuple[str, ...]
    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    misshapen: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is missing, left over or of another shape."""
        return not (self.missing or self.surplus or self.misshapen)

    @property
    def pooled_alone(self) -> bool:
        """Whether all that differs is that the file has a norm of pooled tokens in place of the last norm."""
        return (
            bool(self.missing and self.surplus)
            and not self.misshapen
            and all(name.startswith(_NORM) for name in self.missing)
            and all(name.startswith(_POOLED_NORM) for name in self.surplus)
        )

    @property
    def complaint(self) -> str:
        """What does not fit, the first few of each."""
        found = (("missing", self.missing), ("left over", self.surplus), ("of another shape", self.misshapen))
        return "; ".join(f"{what}: {_first(names)}" for what, names in found if names)


def fit_encoder(network: nn.Module, weights: Mapping[str, Tensor]) -> Fit:
    """Set weights against an encoder, with or without a classifier.

    The classifier starts fresh, and so does the norm that stands behind the pooling of a network that classifies mean
    tokens (`fc_norm`): the published fine-tuning of MAE takes it in place of the encoder's last norm.
    """
    own = network.state_dict()
    config: dict[str, Any] = getattr(network, "pretrained_cfg", None) or {}
    classifier = config.get("classifier") or ()
    free = tuple(f"{name}." for name in ((classifier,) if isinstance(classifier, str) else classifier))
    may_miss, may_leave = free, free
    if _has(weights, _NORM) and _has(own, _NORM) != _has(own, _POOLED_NORM):
        # A file with both norms pooled tokens behind the other norm: of use only where both are again.
        weights = {name: value for name, value in weights.items() if not name.startswith(_POOLED_NORM)}
    if not _has(weights, _POOLED_NORM):
        may_miss += (_POOLED_NORM,)
    if _has(own, _POOLED_NORM) and not _has(own, _NORM):
        may_leave += (_NORM,)
    weights = {name: value for name, value in weights.items() if not name.startswith(free)}
    return _fit(own, weights, position_prefix(network), may_miss, may_leave)


def fit_part(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], num_prefix_tokens: int) -> Fit:
    """Set weights against any other part of a method; it must be whole."""
    return _fit(own, weights, num_prefix_tokens, (), ())


def position_prefix(network: nn.Module | None) -> int:
    """Rows of a network's position table before those of the grid."""
    return 0 if getattr(network, "no_embed_class", False) else int(getattr(network, "num_prefix_tokens", 0))


def _fit(
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    num_prefix_tokens: int,
    may_miss: tuple[str, ...],
    may_leave: tuple[str, ...],
) -> Fit:
    weights = {name: value for name, value in weights.items() if not name.endswith(INDEX)}
    absent = [name for name in own if name not in weights and not name.endswith((INDEX, _COUNTER))]
    both = {name: (value, own[name]) for name, value in weights.items() if name in own}
    taken = {name: resized(name, value, mine, num_prefix_tokens) for name, (value, mine) in both.items()}
    return Fit(
        weights=taken,
        fresh=tuple(name for name in absent if name.startswith(may_miss)),
        resized=tuple(
            f"{name} {_shape(value)} -> {_shape(mine)}"
            for name, (value, mine) in both.items()
            if value.shape != mine.shape and taken[name].shape == mine.shape
        ),
        missing=tuple(name for name in absent if not name.startswith(may_miss)),
        surplus=tuple(name for name in weights if name not in own and not name.startswith(may_leave)),
        misshapen=tuple(
            f"{name}, {_shape(value)} in the file and {_shape(mine)} in the network"
            for name, (value, mine) in both.items()
            if taken[name].shape != mine.shape
        ),
    )


def _has(weights: Mapping[str, Tensor], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in weights)


def _first(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "a number"
