"""Loader processes and signals that are meant for their training."""

from __future__ import annotations

import os
import signal
import threading


def leave_signals_to_the_training(worker: int) -> None:
    """Let a loader process outlive what SLURM tells all processes of a job: the training still has a step to end.

    Only its parent ends it by SIGTERM, as PyTorch and multiprocessing do with workers that do not end otherwise. It is
    a `worker_init_fn`.

    Args:
        worker: Number of the worker.
    """
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        # A handler of Python's is not told who sends a signal.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_for_parent, args=(os.getppid(),), daemon=True).start()


def _end_for_parent(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)  # as PyTorch's own handler does
