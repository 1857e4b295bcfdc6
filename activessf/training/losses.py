"""Losses for classes of unequal size.

Each is of logits (N, C) and of targets: class indices (N,), or shares of the classes (N, C) that sum to 1, of which the
loss is the mean by share. They change the training alone: probabilities are the softmax of the logits, whichever loss
they were trained with. A class without a training cell gives no infinite weight, prior or margin; what it gives stands
with each loss.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from activessf.data.class_weights import Counts, check_one_of, check_range, class_weights
from activessf.errors import InputError
from activessf.methods.distributed import gathered

# A weight of the rarest class up to the square of the imbalance: beyond that the others would vanish in 32 bits.
_HIGHEST_EXPONENT = 2.0


class WeightedCrossEntropy(nn.Module):
    """Cross-entropy in which a cell counts by the size of its class; the mean is by weight.

    With an exponent of 1 that is inverse frequency, with beta the class-balanced loss of Cui 2019 (arXiv 1901.05555).
    A class without a cell has the weight 0.

    Args:
        class_counts: Training cells of each class, (C,).
        exponent: A cell of a class of n cells counts n^-exponent; None if `beta` is given.
        beta: If given, it counts 1 over the effective number of n cells (see `data.class_weights`).
        label_smoothing: Share of a target that goes to all classes alike, 0-1; it is weighted as its cell is.

    Raises:
        InputError: A setting that can't be, or none or both of exponent and beta.
    """

    weights: Tensor

    def __init__(
        self, class_counts: Counts, exponent: float | None, beta: float | None, label_smoothing: float
    ) -> None:
        super().__init__()
        check_one_of("loss", exponent, beta, _HIGHEST_EXPONENT)
        if exponent is None and beta is None:
            raise InputError("loss=weighted has neither loss.exponent nor loss.beta; set one of them.")
        check_range("loss.label_smoothing", label_smoothing, 1)
        self.label_smoothing = label_smoothing
        self.register_buffer("weights", _tensor(class_weights(class_counts, exponent, beta)), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean loss; see the module."""
        costs = _smoothed(-logits.float().log_softmax(dim=1), self.label_smoothing)
        return _mean(costs, targets, self.weights)


class FocalLoss(nn.Module):
    """Cross-entropy in which a cell counts the less the better it is classified: -(1 - p)^gamma log p.

    Lin 2017 (arXiv 1708.02002, Eq. 4), of the softmax; p is the probability of the target. Counts of classes have no
    part in it.

    Args:
        gamma: 0 is cross-entropy.

    Raises:
        InputError: A gamma that can't be.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__()
        _check_given("loss.gamma", gamma)
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean loss; see the module."""
        log_p = logits.float().log_softmax(dim=1)
        # At p = 1 a power below 1 has an infinite slope, which the clamp keeps out of the gradient.
        missing = (-log_p.expm1()).clamp_min(torch.finfo(log_p.dtype).tiny)
        return _mean(-(missing**self.gamma) * log_p, targets)


class BalancedSoftmax(nn.Module):
    """Cross-entropy of a softmax in which each class counts by its number of cells: n_j exp(z_j) / sum n_i exp(z_i).

    Ren 2020 (arXiv 2007.10740, Theorem 1). For a class without a cell see `LogitAdjustedCrossEntropy`.

    Args:
        class_counts: Training cells of each class, (C,).
        label_smoothing: Share of a target that goes to all classes alike, 0-1.

    Raises:
        InputError: A setting that can't be.
    """

    log_counts: Tensor

    def __init__(self, class_counts: Counts, label_smoothing: float) -> None:
        super().__init__()
        check_range("loss.label_smoothing", label_smoothing, 1)
        self.label_smoothing = label_smoothing
        self.register_buffer("log_counts", _tensor(np.log(_seen_counts(class_counts))), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean loss; see the module."""
        log_p = (logits.float() + self.log_counts).log_softmax(dim=1)
        return _mean(_smoothed(-log_p, self.label_smoothing), targets)


class LogitAdjustedCrossEntropy(nn.Module):
    """Cross-entropy of logits to which tau times the log of the class's frequency is added.

    Menon 2021 (arXiv 2007.07314, Eq. 10). With tau = 1 it is the balanced softmax.

    A class without a cell has no frequency. It is given that of the most frequent class: so training pushes its logit
    down as far as any. With a small one its logit would hardly be trained, and in the test it would stand above those
    of rare classes, and be predicted.

    Args:
        class_counts: Training cells of each class, (C,).
        tau: 0 is cross-entropy.
        label_smoothing: Share of a target that goes to all classes alike, 0-1.

    Raises:
        InputError: A setting that can't be.
    """

    adjustment: Tensor

    def __init__(self, class_counts: Counts, tau: float, label_smoothing: float) -> None:
        super().__init__()
        _check_given("loss.tau", tau)
        check_range("loss.label_smoothing", label_smoothing, 1)
        self.label_smoothing = label_smoothing
        frequencies = _seen_counts(class_counts) / np.sum(class_counts)
        self.register_buffer("adjustment", _tensor(tau * np.log(frequencies)), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean loss; see the module."""
        log_p = (logits.float() + self.adjustment).log_softmax(dim=1)
        return _mean(_smoothed(-log_p, self.label_smoothing), targets)


class LDAMLoss(nn.Module):
    """Label-distribution-aware margins with deferred re-weighting (Cao 2019, arXiv 1906.07413).

    The target's logit is lowered by a margin in proportion to n^(-1/4) (section 3.2). In the last part of the
    training a cell counts 1 over the effective number of its class (Algorithm 1). The logits are cosines times the
    scale, as a `cosine_classifier.CosineClassifier` gives them: so the margin is scale x max_margin for the smallest
    class, and probabilities are the softmax of what was trained. A linear one is taken to have scaled ones.

    A class without a cell has no margin and the weight 0.

    Args:
        class_counts: Training cells of each class, (C,).
        max_margin: Margin of the smallest class that has a cell, in units of the scale.
        scale: By which margins are multiplied.
        reweight_from: Share of the training before cells are re-weighted, 0-1; 1 = never.
        beta: Of the effective number, in [0, 1).

    Attributes:
        progress: Share of the training that is done, 0-1; whoever trains sets it.

    Raises:
        InputError: A setting that can't be.
    """

    margins: Tensor
    weights: Tensor

    def __init__(
        self, class_counts: Counts, max_margin: float, scale: float, reweight_from: float, beta: float
    ) -> None:
        super().__init__()
        for name, value in (("max_margin", max_margin), ("scale", scale)):
            _check_given(f"loss.{name}", value)
        _check_given("loss.reweight_from", reweight_from, 1)
        _check_given("loss.beta", beta, 1)
        check_one_of("loss", None, beta, _HIGHEST_EXPONENT)
        n = np.asarray(class_counts, dtype=np.float64)
        present = n > 0
        margins = np.zeros_like(n)
        margins[present] = max_margin * (n[present].min() / n[present]) ** 0.25
        self.reweight_from = reweight_from
        self.progress = 0.0
        self.register_buffer("margins", _tensor(scale * margins), persistent=False)
        self.register_buffer("weights", _tensor(class_weights(class_counts, None, beta)), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean loss; see the module."""
        # The logits once for each class as the target, (N, target, C): only the target's own is lowered.
        lowered = logits.float().unsqueeze(1) - torch.diag(self.margins)
        costs = -lowered.log_softmax(dim=2).diagonal(dim1=1, dim2=2)
        return _mean(costs, targets, self.weights if self.progress >= self.reweight_from else None)


def _mean(costs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over cells of the costs, (N, C), that their classes have as the target, by share and weight of the class."""
    shares = functional.one_hot(targets, costs.shape[1]) if targets.ndim == 1 else targets
    if weights is None:
        return (shares * costs).sum() / shares.sum()
    shares = shares * weights
    # Gradients of several processes are averaged: divided alike, that is the gradient of the mean over the whole batch.
    return (shares * costs).sum() / gathered(shares.sum().view(1, 1)).mean()


def _smoothed(costs: Tensor, label_smoothing: float) -> Tensor:
    """Costs of targets of which a share goes to all classes alike."""
    return (1 - label_smoothing) * costs + label_smoothing * costs.mean(dim=1, keepdim=True)


def _seen_counts(class_counts: Counts) -> NDArray[np.float64]:
    n = np.asarray(class_counts, dtype=np.float64)
    return np.where(n > 0, n, n.max())


def _check_given(name: str, value: Any, highest: float = float("inf")) -> None:
    if value is None:
        raise InputError(f"{name}=null must be a number.")
    check_range(name, value, highest)


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)
