"""What a network for features is; and one of timm, with weights that know nothing of the data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd
import timm
from torch import nn

from activessf.artifacts import content_hash
from activessf.errors import InputError
from activessf.pretrained import check_weights, existing_checkpoint, feature_network


@dataclass(frozen=True)
class Loaded:
    """A network that is ready to compute.

    Attributes:
        network: Gives pooled features, (N, d), of normalised images, (N, 3, H, W); in evaluation mode.
        mean: Per-channel mean (RGB, range 0-1) that images are to be freed of.
        std: Per-channel deviation (RGB, range 0-1) that they are to be divided by.
    """

    network: nn.Module
    mean: Sequence[float]
    std: Sequence[float]


class FeatureNetwork(Protocol):
    """A network for features that can be named, checked and loaded."""

    @property
    def name(self) -> str:
        """A short name, for folders and messages."""
        ...

    def of_fold(self, fold: int) -> FeatureNetwork:
        """The network of one fold, where folds have their own; else the same one."""
        ...

    def check(self, image_size: int) -> None:
        """Check within seconds that it can be loaded, and takes images of this side (pixels).

        Raises:
            InputError: It can't.
        """
        ...

    def check_unseen(self, test: pd.DataFrame) -> None:
        """Check that the network has not learned from the labels of these cells, columns `manifests.FOLDS`.

        Raises:
            InputError: It has, or may have.
        """
        ...

    def identity(self) -> dict[str, Any]:
        """What its features depend on, as JSON values.

        Raises:
            InputError: A file that it needs is not there.
        """
        ...

    def load(self) -> Loaded:
        """The network with its weights.

        Raises:
            InputError: The weights can't be had or don't fit.
        """
        ...


@dataclass(frozen=True)
class TimmNetwork:
    """A network of timm with weights that know nothing of the data set.

    Attributes:
        model_name: A timm model name.
        checkpoint: State dict with timm's names, or None = timm's pretrained weights.
        packaged: The weights come from a Python package, see `pretrained.feature_network`.
    """

    model_name: str
    checkpoint: str | None
    packaged: bool

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model_name

    def of_fold(self, fold: int) -> TimmNetwork:
        """The same one."""
        return self

    def check(self, image_size: int) -> None:
        """See `FeatureNetwork`."""
        check_weights(self.model_name, self.checkpoint, self.packaged)
        config = timm.get_pretrained_cfg(self.model_name)
        if config is not None and config.fixed_input_size and image_size != config.input_size[-1]:
            raise InputError(
                f"{self.model_name} takes images of {config.input_size[-1]} pixels only, not {image_size}; set "
                f"recipe.feature_image_size={config.input_size[-1]}."
            )

    def check_unseen(self, test: pd.DataFrame) -> None:
        """What its weights have seen is not known here; weights from elsewhere are taken for innocent."""

    def identity(self) -> dict[str, Any]:
        """See `FeatureNetwork`; a checkpoint counts by its content."""
        content = None if self.checkpoint is None else content_hash(existing_checkpoint(self.checkpoint))
        return {"model_name": self.model_name, "checkpoint": content, "packaged": self.packaged}

    def load(self) -> Loaded:
        """See `FeatureNetwork`."""
        network = feature_network(self.model_name, self.checkpoint, self.packaged)
        config = timm.data.resolve_model_data_config(network)
        return Loaded(network, config["mean"], config["std"])
