"""One job of a script, and how it ends: its result told, a mistake, a signal."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from activessf.cli.mistakes import fail, full_errors, mistake
from activessf.errors import InputError, JobFailed
from activessf.exits import INTERRUPTED_STATUS, MISTAKE_STATUS, STOPPED_STATUSES, TERMINATED_STATUS
from activessf.launching.command import in_sweep, job_command, own_node
from activessf.launching.ranks import own_rank


def run(
    stage: Callable[[DictConfig], Path], config: DictConfig, devices: Callable[[DictConfig], int] | None = None
) -> Path | None:
    """Run one job and say where its result is; to be called by the function under `@hydra.main`.

    A single run that fails by a user's mistake ends here with one sentence on stderr. In a sweep the job says what
    went wrong as soon as it does, and its exception goes on to Hydra, which runs the other jobs and then raises the
    first failed job's; `script.start` turns that into the exit status. A stage that is to have several devices is run
    by as many processes, which this one starts and waits for; where it is one of several itself, all run the stage.

    Args:
        stage: One of the functions of `activessf.commands`; returns the file or folder of its result.
        config: The job's composed configuration.
        devices: How many devices the stage is to have; None = it has no use for more than one.

    Returns:
        What the stage returned; None where other processes ran it.

    Raises:
        SystemExit: Status 2 after a user's mistake in a single run, 143 after SIGTERM, 138 after SIGUSR1, 130 after
            Ctrl-C in a fit.
        JobFailed: In a sweep, after the processes of a job have failed.
        Exception: Whatever else the stage raised; in a sweep and under HYDRA_FULL_ERROR=1 mistakes too.
    """
    from activessf.jobs.recording import recorded  # brings pandas, which --help needn't wait for

    try:
        _refuse_a_sweep_as_one_run()
        rank = own_rank()
        if rank.count > 1 and devices is None:
            raise InputError("Only train.py runs as several processes; start this script without torchrun and srun.")
        if rank.index > 0:
            logging.getLogger().setLevel(logging.WARNING)  # process 0 tells the rest
        with _warnings_told():
            if rank.count == 1 and devices is not None and (count := devices(config)) > 1:
                _run_as_team(count)
                return None
            result = recorded(lambda: stage(config), mistake)
    except SystemExit as error:
        _exit_as_signalled(error)
        raise
    except Exception as error:
        sentence = mistake(error)
        if in_sweep():
            if not isinstance(error, JobFailed):
                _tell_failed_job(sentence)
            if not _sweeps_here():
                raise SystemExit(1 if sentence is None else MISTAKE_STATUS) from error
        elif sentence is not None and not full_errors():
            fail(sentence, error)
        raise
    if rank.index == 0:
        print(f"The result is in {result}", flush=True)
    return result


def _run_as_team(count: int) -> None:
    """Run this job again as processes of one training; see `launching.team`."""
    from activessf.launching.team import run_team  # brings torch

    hydra = own_node()
    folder = Path(hydra.runtime.output_dir)
    # Its files below .hydra are there already.
    status = run_team(job_command(hydra, folder, "hydra.output_subdir=null"), count, folder)
    if status in (0, *STOPPED_STATUSES) or not _sweeps_here():
        if status:
            raise SystemExit(status)
        return
    raise JobFailed(f"The processes of {_job_in_words()} have failed; what they said stands above.", status)


def _exit_as_signalled(error: SystemExit) -> None:
    """Give Lightning's ways of ending on a signal the exit status that shells and schedulers expect."""
    # By name, so that Lightning needn't be imported. It is a SystemExit without a status, which means success.
    if type(error).__name__ == "SIGTERMException":
        raise SystemExit(TERMINATED_STATUS) from error
    if isinstance(error.__context__, KeyboardInterrupt):
        raise SystemExit(INTERRUPTED_STATUS) from error


def _refuse_a_sweep_as_one_run() -> None:
    if not HydraConfig.initialized() or in_sweep():
        return
    params = HydraConfig.get().sweeper.get("params")
    if params:
        raise InputError(
            f"This configuration is a sweep over {', '.join(map(str, params))}; add -m to run it whole, as in: "
            "python train.py experiment=demo -m."
        )


def _sweeps_here() -> bool:
    """Whether other jobs of the sweep may follow in this process."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _tell_failed_job(sentence: str | None) -> None:
    """Print the error that is being handled: at the end of a sweep Hydra shows that of the first failed job only."""
    job = _job_in_words()
    if sentence is not None:
        print(f"error in {job}: {sentence}", file=sys.stderr, flush=True)
    else:
        print(f"error in {job}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)


def _job_in_words() -> str:
    return f"job {HydraConfig.get().job.num} ({' '.join(HydraConfig.get().overrides.task)})"


@contextmanager
def _warnings_told() -> Iterator[None]:
    """Tell a `UserWarning` as a sentence, without the place in the code; other kinds stay as they are."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if category is UserWarning:
                logging.getLogger(__name__).warning("warning: %s", message)
            else:
                shown(message, category, *place, **options)

        warnings.showwarning = show
        yield
