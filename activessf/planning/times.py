"""What trainings and other stages take on a machine: rows of a table that another machine can plan with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Kind(NamedTuple):
    """Trainings of one kind have steps that take equally long.

    Attributes:
        stage: pretraining, or run: the fine-tuning.
        name: Of a pretraining its method; "" of a fine-tuning.
        backbone: Name of the network.
        image_size: Side of the images, px.
        batch_size: Images of a step.
        precision: That of the trainer.
        exact: Fingerprint of all that the time of a step depends on; "" = this alone.
    """

    stage: str
    name: str
    backbone: str
    image_size: int
    batch_size: int
    precision: str
    exact: str = ""

    @property
    def coarse(self) -> Kind:
        """The same by what people can write down."""
        return self._replace(exact="")


@dataclass(frozen=True)
class Time:
    """A row: what a training of a kind, or another stage, took.

    Attributes:
        stage: pretraining, run (its fine-tuning), or another stage such as regions.
        name: Of a pretraining its method; of another stage the label of its result.
        backbone: See `Kind`, as the next four.
        image_size: 0 for other stages.
        batch_size: 0 for other stages.
        precision: "" for other stages.
        exact: "" for other stages, and in rows that people have written.
        device: What it was measured on.
        seconds_per_step: Of a training, loading included; 0 for other stages.
        seconds: Besides the steps: starting up, probes, tests; of another stage all that it took.
    """

    stage: str
    name: str = ""
    backbone: str = ""
    image_size: int = 0
    batch_size: int = 0
    precision: str = ""
    exact: str = ""
    device: str = ""
    seconds_per_step: float = 0.0
    seconds: float = 0.0

    @property
    def kind(self) -> Kind | None:
        """Of a training; None for another stage."""
        if not self.seconds_per_step:
            return None
        described = self.stage, self.name, self.backbone, self.image_size, self.batch_size, self.precision
        return Kind(*described, self.exact)


def training_time(kind: Kind, device: str, seconds_per_step: float, others: float = 0.0) -> Time:
    """The row of a training."""
    return Time(**kind._asdict(), device=device, seconds_per_step=seconds_per_step, seconds=others)
