"""How closely a pretraining is watched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Watch:
    """Settings of what watches a pretraining.

    Attributes:
        every: Epochs between looks, 0 or more; 0 = there are none.
        steps: Optimiser steps between looks, in place of `every` if that is not 0; None = `every` counts.
        num_images: Images in the grid of reconstructions; 0 = no grid.
        probe: Whether the features of labeled training cells are probed.
        probe_cells: Most cells that are probed; of more, those of frequent classes are thinned out.
        held_out: Share of the probed cells whose classes are predicted from those of the others, in (0, 0.5].
        knn_neighbours: k of the k-NN probe.
        knn_temperature: T of its votes, exp(similarity / T).
        collapse_below: A spread of the features below this one, 0-1, is warned of.
    """

    every: float
    steps: int | None
    num_images: int
    probe: bool
    probe_cells: int
    held_out: float
    knn_neighbours: int
    knn_temperature: float
    collapse_below: float

    def steps_between(self, num_images: int, batch_size: int) -> int | None:
        """Optimiser steps from look to look; None = no looks.

        Args:
            num_images: Images of an epoch.
            batch_size: Images of a step.
        """
        if not self.every:
            return None
        if self.steps is not None:
            return self.steps
        return max(1, round(self.every * max(1, num_images // batch_size)))
