"""A training that is told to go by a signal saves where it is at the end of its step, and leaves.

Clusters say so before they take a machine away: SIGTERM when a job is pre-empted, cancelled or out of time, SIGUSR1
where a script asks for it (`sbatch --signal=USR1@120`), SIGUSR2 from submitit.
"""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from activessf.exits import SIGNALS, leave
from activessf.methods.distributed import greatest
from activessf.training.resuming import SaveCheckpoints

log = logging.getLogger(__name__)


class LeaveWhenTold(Callback):
    """Leaves a training after a signal: by what the signal would have done without it, once a checkpoint is written.

    Where several processes train together all leave after the same step, whichever of them was told. It is to come
    after `saving` in the list of callbacks.

    Args:
        saving: Saves the checkpoint.
    """

    def __init__(self, saving: SaveCheckpoints) -> None:
        self._saving = saving
        self._told = 0  # number of the signal
        self._leaving = 0  # the same, once all processes know
        # As they are now: Lightning puts its own in their place when a fit begins, and these back when it ends.
        self._before = {number: signal.getsignal(number) for number in SIGNALS}

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Listen from here on.

        Lightning would raise wherever it is, with an exchange in the middle of others, for which processes wait for
        ever.
        """
        if threading.current_thread() is not threading.main_thread():
            return  # where Python allows no handlers
        for number in (*SIGNALS, *_scheduler_signals()):
            self._before.setdefault(number, signal.getsignal(number))
            signal.signal(number, self._note)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Save, if anyone was told to go and the gradients of no batch are waiting for others."""
        if not self._saving.step_is_whole(trainer):
            return
        self._leaving = greatest(self._told, module.device)
        if self._leaving:
            self._saving.save(trainer)

    def on_train_batch_start(self, *_: Any) -> None:
        """Leave here, where what the last step has logged is kept, too."""
        if self._leaving:
            self._leave(self._leaving)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Leave before the result is made: what comes after may take longer than there is time."""
        if self._leaving:
            self._leave(self._leaving)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._told = number

    def _leave(self, number: int) -> None:
        """Go, or go on where the signal is one that whoever started this process has chosen to outlive."""
        self._told = self._leaving = 0
        log.info("Told to go by %s; the same command goes on from here.", signal.Signals(number).name)
        before = self._before.get(signal.Signals(number), signal.SIG_DFL)
        if before is signal.SIG_DFL:
            leave(number, None)
        if callable(before):
            before(number, None)


def _scheduler_signals() -> list[signal.Signals]:
    """SIGUSR2, if anyone waits for it: submitit puts its job into the queue again."""
    return [signal.SIGUSR2] if callable(signal.getsignal(signal.SIGUSR2)) else []
