"""The probe of a pretraining: labeled cells of the training folds, looked at with the encoder as it is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from activessf.data.datasets import ImageFiles
from activessf.methods.method import SelfSupervisedMethod
from activessf.training.held_out import scores, split
from activessf.training.watching.features import embed, feature_std
from activessf.training.watching.looking import Seen
from activessf.training.watching.probe import knn_predictions, linear_predictions, thinned
from activessf.training.watching.settings import Watch

log = logging.getLogger(__name__)

NUMBERS = ("knn_accuracy", "knn_f1", "linear_accuracy", "linear_f1", "feature_std")


@dataclass(frozen=True)
class LabeledCells:
    """The labeled cells of the training folds.

    Attributes:
        images: The cells, whole, with their class indices.
        groups: Group (patient, slide) of each; "" = unknown.
        fold: The fold that has no cell among them.
    """

    images: ImageFiles
    groups: Sequence[str]
    fold: int

    def thinned(self, most: int) -> LabeledCells:
        """At most so many of them, rare classes first; the same ones for the same seed of the images."""
        rows = thinned(np.array(self.images.targets), most, self.images.seed)
        return LabeledCells(self.images.subset(rows.tolist()), [self.groups[row] for row in rows], self.fold)


class FeatureProbe:
    """A look at the features: accuracy and macro F1 of a k-NN and of a linear classifier, and how far they are spread.

    Args:
        cells: What is probed.
        watch: How.
        batch_size: Images at a time.
        num_workers: Loader processes.
    """

    def __init__(self, cells: LabeledCells, watch: Watch, batch_size: int, num_workers: int) -> None:
        cells = cells.thinned(watch.probe_cells)
        self._images = cells.images
        self._targets = np.array(cells.images.targets)
        self._parts = split(self._targets, cells.groups, watch.held_out, cells.images.seed)
        self._watch = watch
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._collapsed = False
        if self._parts is None:
            log.warning(
                "No probe while pretraining: %d labeled cells of the training folds are too few to hold some out.",
                len(cells.images),
            )

    def __call__(self, method: SelfSupervisedMethod, step: int) -> Seen:
        """See `Look`."""
        if self._parts is None:
            return Seen({}, {})
        features = embed(method.encoder, self._images, self._batch_size, self._num_workers)
        if not np.isfinite(features).all():
            log.warning("The features of labeled cells are no numbers any more after %d steps.", step)
            return Seen({}, {})
        watch = self._watch
        by_neighbours = knn_predictions(
            features, self._targets, self._parts, watch.knn_neighbours, watch.knn_temperature
        )
        truth = self._targets[self._parts.held_out]
        linear = linear_predictions(features, self._targets, self._parts)
        found = (*scores(by_neighbours, truth), *scores(linear, truth), feature_std(features))
        self._tell(step, *found)
        return Seen(dict(zip(NUMBERS, found, strict=True)), {})

    def _tell(self, step: int, knn: float, knn_f1: float, linear: float, linear_f1: float, spread: float) -> None:
        when = f"after {step:,} steps" if step else "untrained"
        numbers = (100 * value for value in (knn, knn_f1, linear, linear_f1))
        text = "Probe on held-out training cells, %s: k-NN accuracy %.1f %%, F1 %.1f %%; linear %.1f %%, %.1f %%."
        log.info(text, when, *numbers)
        collapsed = step > 0 and spread < self._watch.collapse_below
        if collapsed and not self._collapsed:  # said once, not with every look
            log.warning(
                "The features of different cells are nearly the same %s: their spread is %.2g, below "
                "watch.collapse_below=%g. This pretraining may have collapsed.",
                when,
                spread,
                self._watch.collapse_below,
            )
        self._collapsed = collapsed
