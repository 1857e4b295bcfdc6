"""Features of cells and regions by a frozen network (paper II.C.1: ResNet-50)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from activessf.data.augmentations import WholeView
from activessf.data.datasets import ImageFiles, evaluation_loader
from activessf.errors import InputError
from activessf.pretrained import check_weights, existing_checkpoint, feature_network


@dataclass(frozen=True)
class FeatureExtractor:
    """Pooled features of a frozen timm network; not normalised, so that 17 +- 2 keeps its meaning (III.B).

    Attributes:
        model_name: A timm model name.
        checkpoint: Weights to use instead of timm's pretrained ones, or None.
        packaged: The weights come from a Python package, see `pretrained.feature_network`.
        image_size: Regions are resized to a square of this side, pixels.
        batch_size: Regions at a time; of no influence on the result but rounding.
    """

    model_name: str
    checkpoint: str | None
    packaged: bool
    image_size: int
    batch_size: int

    def check(self) -> None:
        """Check within seconds that the weights are at hand.

        Raises:
            InputError: See `pretrained.feature_network`.
        """
        check_weights(self.model_name, self.checkpoint, self.packaged)

    def identity(self) -> dict[str, Any]:
        """What the features depend on, besides the images.

        Raises:
            InputError: The checkpoint is no file.
        """
        described = asdict(self)
        del described["batch_size"]
        if self.checkpoint is not None:
            status = existing_checkpoint(self.checkpoint).stat()
            described["checkpoint"] = [self.checkpoint, status.st_size, status.st_mtime_ns]
        return described

    @torch.inference_mode()
    def __call__(self, paths: Sequence[Path], num_workers: int, description: str) -> NDArray[np.float32]:
        """Features of image files, (n, d), with a progress bar.

        Raises:
            InputError: An image can't be read, or a weight or feature is not finite.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = feature_network(self.model_name, self.checkpoint, self.packaged).to(device)
        config = timm.data.resolve_model_data_config(network)
        images = ImageFiles(paths, None, WholeView(self.image_size), 0, config["mean"], config["std"])
        batches = [
            network(batch.to(device)).float().cpu().numpy()
            for batch, _ in tqdm(
                evaluation_loader(images, self.batch_size, num_workers), desc=description, unit="batch"
            )
        ]
        features: NDArray[np.float32] = np.concatenate(batches)
        if not np.isfinite(features).all():
            raise InputError(f"{self.model_name} gives features that are not finite; check its weights.")
        return features
