"""Pooled features of images, from an encoder in the middle of its training."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from activessf.backbones.pooling import PooledTokens
from activessf.data.datasets import ImageFiles, evaluation_loader

Features = NDArray[np.float32]


def embed(encoder: nn.Module, images: ImageFiles, batch_size: int, num_workers: int) -> Features:
    """Features of all images in their order, (n, d).

    Args:
        encoder: In evaluation mode.
        images: The images.
        batch_size: Images at a time.
        num_workers: Loader processes, which end with this call.
    """
    network = PooledTokens(encoder)
    like = next(encoder.parameters())  # of its device and precision
    batches = [network(views.to(like)).float().cpu() for views, _ in evaluation_loader(images, batch_size, num_workers)]
    features: Features = torch.cat(batches).numpy()
    return features


def feature_std(features: Features) -> float:
    """How far features are spread over the sphere: 1 = alike in all directions, 0 = collapsed into one point.

    The mean over dimensions of the deviation of L2-normalised features, times sqrt(d), as in SimSiam (Chen and He, CVPR
    2021, arXiv 2011.10566, section 4.1).

    Args:
        features: (n, d).
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    return float(directions.std(axis=0).mean() * np.sqrt(features.shape[1]))
