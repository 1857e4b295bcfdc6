"""A running average of a network's weights while it is trained."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from timm.utils import ModelEmaV3
from torch import nn


class WeightAverage(Callback):
    """Keeps an exponential moving average of weights and running statistics, one update an optimiser step.

    The decay of update t is 1 - t^(-2/3), up to its value: or the first weights would be most of the average of a short
    training.

    Args:
        network: What is trained.
        decay: In (0, 1): what an update leaves of the average.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._average = ModelEmaV3(network, decay=decay, use_warmup=True)
        self._trained = network
        self._step = 0

    @property
    def network(self) -> nn.Module:
        """A copy of the network with the averaged weights, in evaluation mode."""
        average: nn.Module = self._average.module
        return average

    def state_dict(self) -> dict[str, Any]:
        """The average, for a training that is resumed."""
        return {"step": self._step, "weights": self.network.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the average of before."""
        self._step = state_dict["step"]
        self.network.load_state_dict(state_dict["weights"])

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Go where the trained network is."""
        self._average.to(module.device)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Take the new weights in, if an optimiser step was made."""
        if trainer.global_step > self._step:
            self._step = trainer.global_step
            self._average.update(self._trained, step=self._step)
