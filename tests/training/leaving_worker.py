"""A training that is told to go while it is in the middle of a step, by a real signal to processes of it.

python leaving_worker.py FOLDER SIGNAL RANKS WORKERS: the processes with these ranks get the signal in step 5, or, where
there are loader workers, all of the training's processes do.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from pytorch_lightning import Callback, Trainer
from test_resuming import BATCH, STEPS, classifier
from together_worker import images_of, runner

from activessf.exits import leaving_on_signals
from activessf.launching.meeting import meeting
from activessf.launching.ranks import own_rank
from activessf.methods.batch_norm import normalise_together
from activessf.training.resuming import Checkpoints

STOPPED_IN = 5


class Told(Callback):
    """Sends the signal before the batch in which step 5 is made is computed."""

    def __init__(self, number: int, whole_group: bool) -> None:
        self.number, self.whole_group = number, whole_group

    def on_before_backward(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == STOPPED_IN - 1:
            if not self.whole_group:
                os.kill(os.getpid(), self.number)
                return
            # By a process that is none of the training's, as a scheduler does.
            send = f"import os; os.killpg({os.getpgrp()}, {int(self.number)})"
            subprocess.run([sys.executable, "-S", "-c", send], start_new_session=True, check=True)


def train(folder: Path, callbacks: list[Callback], workers: int = 0, minutes: float = 60.0, **trainer) -> None:
    """A training of 11 steps; of its checkpoints none is due by time."""
    torch.manual_seed(0)
    module, rank = classifier(), own_rank()
    if rank.count > 1:
        normalise_together(module)
    own = folder / f"rank_{rank.index}"
    own.mkdir(parents=True, exist_ok=True)
    made_by = runner(own, **trainer)
    made_by = type(made_by)(**{**vars(made_by), "num_workers": workers, "checkpoint_minutes": minutes})
    checkpoints = Checkpoints(folder / "checkpoints")
    made_by.fit(module, images_of(folder.parent / "images"), BATCH, STEPS, own, "Training", checkpoints, callbacks)
    torch.save(module.state_dict(), own / "weights.pt")


if __name__ == "__main__":
    place, number, told, workers = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(","), int(sys.argv[4])
    with leaving_on_signals(), meeting():
        if str(own_rank().index) in told:
            train(place, [Told(signal.Signals(number), workers > 0)], workers)
        else:
            train(place, [], workers)
