"""A training that is told to go while it is in the middle of a step, by a real signal to processes of it.

`python leaving_worker.py group FOLDER`: with two loader workers, all processes get SIGTERM in step 5. `second`: of two
processes that train together the second gets SIGUSR1 there; both note how they left, and go on.
"""

import json
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
from activessf.launching.meeting import agreed, meeting
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
    images = next(place / "images" for place in folder.parents if (place / "images").is_dir())
    torch.manual_seed(0)
    module, rank = classifier(), own_rank()
    if rank.count > 1:
        normalise_together(module)
    own = folder / f"rank_{rank.index}"
    own.mkdir(parents=True, exist_ok=True)
    made_by = runner(own, **trainer)
    made_by = type(made_by)(**{**vars(made_by), "num_workers": workers, "checkpoint_minutes": minutes})
    checkpoints = Checkpoints(folder / "checkpoints")
    made_by.fit(module, images_of(images), BATCH, STEPS, own, "Training", checkpoints, callbacks)
    torch.save(module.state_dict(), own / "weights.pt")


def stopped_together(folder: Path) -> None:
    """A whole training of two processes, and one that is stopped and goes on."""
    rank = own_rank().index
    train(folder / "whole", [])
    try:
        train(folder / "stopped", [Told(signal.SIGUSR1, whole_group=False)] if rank == 1 else [])
    except SystemExit as ending:
        agreed(lambda: True)  # nobody goes on before process 0 has left, too
        kept = sorted(path.name for path in (folder / "stopped" / "checkpoints").glob("*"))
        (folder / f"left_{rank}.json").write_text(json.dumps({"status": ending.code, "kept": kept}))
    train(folder / "stopped", [])


if __name__ == "__main__":
    with leaving_on_signals(), meeting():
        if sys.argv[1] == "group":
            train(Path(sys.argv[2]), [Told(signal.SIGTERM, whole_group=True)], workers=2)
        else:
            stopped_together(Path(sys.argv[2]))
