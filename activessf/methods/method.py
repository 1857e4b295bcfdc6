"""The thin parent of the self-supervised methods: one training step, one optimiser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytorch_lightning import LightningModule
from torch import Tensor, nn

from activessf.training.optimization import Optimization, top_learning_rate


class SelfSupervisedMethod(LightningModule):
    """A method is its `forward(views, progress) -> loss` and its `encoder`; the rest is here.

    It can be used without a Trainer: `method(views, progress).backward()`. One that predicts pixels can show them, see
    `reconstruction.Reconstructs`.

    Attributes:
        encoder: A timm network; its state dict is what pretraining hands on.
        optimization: How the method is optimised; set before a Trainer fits it.
        batch_multiple: A batch is a multiple of so many images.
        mirrors_batch: Whether image i of N belongs with image N-1-i, so that processes that share a batch have both.
    """

    encoder: nn.Module
    optimization: Optimization
    batch_multiple: int = 1
    mirrors_batch: bool = False

    def forward(self, views: Tensor, progress: float) -> Tensor:
        """The loss, a scalar.

        Args:
            views: Normalised images, (N, 3, H, W); for a method that compares views of an image, (N, 2, 3, H, W).
            progress: Share of the training that is done, 0-1.
        """
        raise NotImplementedError

    def check_batch(self, batch_size: int, processes: int = 1) -> None:
        """Check that a batch can be of so many images; most methods take any.

        Args:
            batch_size: Images that a process sees at a time.
            processes: Those that train together.

        Raises:
            InputError: It can't, and of how many it can be.
        """

    def encoder_replaced(self) -> None:
        """Called once starting weights are loaded into the encoder, and into what else they were given for.

        A method with copies of the encoder copies it again; most have none.
        """

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Loss of one batch of views."""
        views, _ = batch
        loss: Tensor = self(views, self.global_step / self.optimization.total_steps)
        self.log("pretrain/loss", loss, batch_size=len(views), sync_dist=True)
        self.log("pretrain/lr", top_learning_rate(self))
        return loss

    def configure_optimizers(self) -> Any:
        """Optimiser and schedule; the encoder's layers have decayed rates, everything else the full one."""
        return self.optimization.configure(self.encoder, self._others())

    def _others(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, value) for name, value in self.named_parameters() if not name.startswith("encoder."))
