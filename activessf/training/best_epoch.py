"""The epoch whose weights are used, chosen on cells that are held out of the training folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from activessf.data.datasets import ImageFiles, evaluation_loader
from activessf.manifests import write_table
from activessf.training.held_out import pr_auc, scores
from activessf.training.watching.untouched import untouched


class BestEpoch(Callback):
    """Predicts held-out cells after every epoch and keeps the weights with the best PR-AUC, the first of equals.

    Loggers get `val/pr_auc`, `val/accuracy` and `val/f1`.

    Args:
        network: Gives logits (N, classes) of images; it is left as it is.
        images: The cells that are held out, as evaluation sees them.
        batch_size: Images at a time.
        num_workers: Loader processes, which end with each look.
        epoch_steps: Optimiser steps of an epoch.
        total_steps: Optimiser steps of the training; the last epoch may be a part of one.
        table: A CSV file with a row an epoch: epoch, step, pr_auc, accuracy, f1.
    """

    def __init__(
        self,
        network: nn.Module,
        images: ImageFiles,
        batch_size: int,
        num_workers: int,
        epoch_steps: int,
        total_steps: int,
        table: Path,
    ) -> None:
        self._network = network
        self._images = images
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._epoch_steps = epoch_steps
        self._total_steps = total_steps
        self._table = table
        self._rows: list[dict[str, float]] = []
        self._best: dict[str, float] | None = None
        self._weights: dict[str, Tensor] = {}
        self._last = 0

    @property
    def best(self) -> dict[str, float]:
        """The row of the best epoch."""
        assert self._best is not None
        return self._best

    @property
    def weights(self) -> dict[str, Tensor]:
        """The network's state dict of the best epoch."""
        assert self._weights
        return self._weights

    def state_dict(self) -> dict[str, Any]:
        """What was found so far, for a training that is resumed."""
        return {"last": self._last, "rows": self._rows, "best": self._best, "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after what was found before."""
        self._last, self._rows = state_dict["last"], state_dict["rows"]
        self._best, self._weights = state_dict["best"], state_dict["weights"]

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Look at the held-out cells, if an epoch has ended."""
        step = trainer.global_step
        due = step % self._epoch_steps == 0 or step >= self._total_steps
        if not due or step == self._last:  # several batches may have been accumulated since
            return
        self._last = step
        with untouched(self._network), trainer.precision_plugin.forward_context():
            probabilities = self._probabilities()
        if not np.isfinite(probabilities).all():
            return  # `FiniteLoss` stops such a training
        truth = np.array(self._images.targets)
        accuracy, f1 = scores(probabilities.argmax(axis=1), truth)
        found = {"pr_auc": pr_auc(probabilities, truth), "accuracy": accuracy, "f1": f1}
        row = {"epoch": round(step / self._epoch_steps, 2), "step": step, **found}
        self._rows.append(row)
        write_table(pd.DataFrame(self._rows), self._table)
        for logger in trainer.loggers:
            logger.log_metrics({f"val/{name}": value for name, value in found.items()}, step)
        if self._best is None or row["pr_auc"] > self._best["pr_auc"]:
            self._best = row
            self._weights = {name: value.cpu().clone() for name, value in self._network.state_dict().items()}

    def _probabilities(self) -> NDArray[np.float64]:
        like = next(self._network.parameters())  # of its device and precision
        loader = evaluation_loader(self._images, self._batch_size, self._num_workers)
        logits = torch.cat([self._network(views.to(like)).float().cpu() for views, _ in loader])
        probabilities: NDArray[np.float64] = logits.double().softmax(dim=1).numpy()
        return probabilities
