"""Images of a batch mixed with one another, and their classes likewise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot


@dataclass(frozen=True)
class Mixing:
    """Mixup (Zhang et al., ICLR 2018, arXiv 1710.09412) and CutMix (Yun et al., ICCV 2019, arXiv 1905.04899).

    Image i of a batch, whose order is random, is mixed with image N - 1 - i; one share holds for the whole batch, as in
    the published fine-tunings (timm's mode "batch"). Where both are on, either is as likely. What is drawn is a
    function of seed and batch number, so a training that is resumed mixes as it would have.

    Attributes:
        mixup: The shares of Mixup are drawn from Beta(mixup, mixup); 0 = no Mixup.
        cutmix: Likewise the share of the image that CutMix leaves; 0 = no CutMix.
        num_classes: Classes.
        seed: Of what is drawn.
    """

    mixup: float
    cutmix: float
    num_classes: int
    seed: int

    def __call__(self, images: Tensor, targets: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Mixed images, (N, 3, H, W), and the shares of the classes in them, (N, classes), rows summing to 1.

        Args:
            images: (N, 3, H, W).
            targets: Class indices, (N,).
            number: Number of the batch, counted over the whole training.
        """
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(number,)))
        cut = rng.random() < 0.5 if self.mixup and self.cutmix else bool(self.cutmix)
        alpha = self.cutmix if cut else self.mixup
        share = float(rng.beta(alpha, alpha))
        if cut:
            images, share = _pasted(images, share, rng)
        else:
            images = share * images + (1 - share) * images.flip(0)
        classes = one_hot(targets, self.num_classes).to(images.dtype)
        return images, share * classes + (1 - share) * classes.flip(0)


def _pasted(images: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Images with a rectangle of the other one, and the share that is left: what sticks out of the image is cut off."""
    height, width = images.shape[-2:]
    side = float(np.sqrt(1 - share))  # of the rectangle, as a share of the image's
    rows = _span(int(rng.integers(height)), int(height * side), height)
    columns = _span(int(rng.integers(width)), int(width * side), width)
    inside = torch.zeros((height, width), dtype=torch.bool, device=images.device)
    inside[rows, columns] = True
    return torch.where(inside, images.flip(0), images), 1 - float(inside.float().mean())


def _span(centre: int, length: int, size: int) -> slice:
    first = centre - length // 2
    return slice(max(0, first), min(size, first + length))
