"""Features of cells and regions by a frozen network (paper II.C.1: ResNet-50)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from activessf.data.augmentations import WholeView
from activessf.data.datasets import ImageFiles, evaluation_loader
from activessf.errors import InputError
from activessf.selection.inference import compute, resolved_precision
from activessf.selection.networks import FeatureNetwork, TimmNetwork
from activessf.selection.run_networks import FinetunedNetwork, PretrainedEncoder
from activessf.selection.whitening import Transform


@dataclass(frozen=True)
class FeatureExtractor:
    """Pooled features of a frozen network; not normalised, so that 17 +- 2 keeps its meaning (III.B).

    Attributes:
        network: Where they come from.
        image_size: Regions are resized to a square of this side, pixels.
        batch_size: Regions at a time; of no influence on the result but rounding.
        precision: See `inference.resolved_precision`.
        transform: What selection does to the features before it looks at them; no part of the features themselves.
    """

    network: FeatureNetwork
    image_size: int
    batch_size: int
    precision: str
    transform: Transform

    @property
    def model_name(self) -> str:
        """The network's name."""
        return self.network.name

    def of_fold(self, fold: int) -> FeatureExtractor:
        """The extractor of one fold; the same for all where the network has not learned from the data set."""
        return replace(self, network=self.network.of_fold(fold))

    def check(self) -> None:
        """Check within seconds that the weights are at hand.

        Raises:
            InputError: They are not, or don't take images of this size.
        """
        resolved_precision(self.precision, _device())
        self.network.check(self.image_size)

    def check_unseen(self, test: pd.DataFrame) -> None:
        """Check that the network has not learned from these cells' labels; see `FeatureNetwork`."""
        self.network.check_unseen(test)

    def identity(self) -> dict[str, Any]:
        """What the features depend on, besides the images.

        Raises:
            InputError: A file that the network needs is not there.
        """
        precision = resolved_precision(self.precision, _device())
        return {**self.network.identity(), "image_size": self.image_size, "precision": precision}

    def setting(self) -> dict[str, Any]:
        """What the user chose, the same for all folds: for tables that set selections of the same features together."""
        after = {} if self.transform.kind == "none" else asdict(self.transform)
        return {"model_name": self.model_name, "image_size": self.image_size, **after}

    def __call__(self, paths: Sequence[Path], num_workers: int, description: str) -> NDArray[np.float32]:
        """Features of image files, (n, d), all in memory; see `batches`."""
        return np.concatenate(list(self.batches(paths, num_workers, description)))

    def batches(self, paths: Sequence[Path], num_workers: int, description: str) -> Iterator[NDArray[np.float32]]:
        """Features of image files in their order, a batch at a time, (<= batch_size, d), with a progress bar.

        Raises:
            InputError: An image can't be read, or a weight or feature is not finite.
        """
        device = _device()
        loaded = self.network.load()
        images = ImageFiles(paths, None, WholeView(self.image_size), 0, loaded.mean, loaded.std)
        computed = None
        for batch, _ in tqdm(evaluation_loader(images, self.batch_size, num_workers), desc=description, unit="batch"):
            if computed is None:
                computed = compute(loaded.network, resolved_precision(self.precision, device), device, batch)
            features = computed(batch).numpy()
            if not np.isfinite(features).all():
                raise InputError(f"{self.model_name} gives features that are not finite; check its weights.")
            yield features


def timm_features(model_name: str, checkpoint: str | None, packaged: bool, **settings: Any) -> FeatureExtractor:
    """Features of a timm network; see `TimmNetwork`, and `_extractor` for the settings."""
    return _extractor(TimmNetwork(model_name, checkpoint, packaged), **settings)


def encoder_features(checkpoint: str | None, run: str | None, **settings: Any) -> FeatureExtractor:
    """Features of an encoder that stage 3 has pretrained; see `PretrainedEncoder`, and `_extractor`."""
    return _extractor(PretrainedEncoder(checkpoint, run), **settings)


def finetuned_features(run: str | None, **settings: Any) -> FeatureExtractor:
    """Features of a network that stage 4 has fine-tuned; see `FinetunedNetwork`, and `_extractor`."""
    return _extractor(FinetunedNetwork(run), **settings)


def _extractor(
    network: FeatureNetwork,
    image_size: int,
    batch_size: int,
    precision: str,
    transform: str,
    whitened_components: int | None,
    whitening_shrinkage: float,
) -> FeatureExtractor:
    """See `FeatureExtractor` and `Transform`."""
    for name, value in (("image_size", image_size), ("batch_size", batch_size)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"selection.features.{name}={value} must be a whole number, 1 or more.")
    after = Transform(transform, whitened_components, whitening_shrinkage)
    return FeatureExtractor(network, image_size, batch_size, precision, after)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
