"""What each process of a training of several does by itself."""

from __future__ import annotations

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback


class Together(Callback):
    """Gives every process but the first noise of its own.

    Process 0 goes on with the random numbers of a training that has one process.

    Args:
        seed: Seed of the training.
        rank: This process.
    """

    def __init__(self, seed: int, rank: int) -> None:
        self._seed = seed
        self._rank = rank

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Do so here: Lightning sets seeds when a fit begins."""
        if self._rank:
            torch.manual_seed(int(np.random.SeedSequence([self._seed, self._rank]).generate_state(1)[0]))
