"""A script as a whole: what it is given, what it exports, and the exit status it ends with."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal import utils as hydra_internals

from activessf.cli.flags import is_sweep, split_flags
from activessf.cli.mistakes import fail, full_errors, mistake
from activessf.cli.spelling import canonical
from activessf.configuration import CONF
from activessf.errors import InputError, JobFailed
from activessf.exits import INTERRUPTED_STATUS, MISTAKE_STATUS, STOPPED_STATUSES, leaving_on_signals
from activessf.jobs.sweep import exit_status, forget_sweep, summary, sweep_of_this_process
from activessf.launching.command import COMMAND, PART_OF, SCRIPT
from activessf.launching.ranks import own_rank
from activessf.planning.plan import read_plans, told

_WITHOUT_FOLDER = ("hydra.output_subdir=null", "hydra.run.dir=.", "hydra/job_logging=stdout")


def start(main: Callable[[], Any], conf: Path = CONF) -> None:
    """Run a script: `start(main)` under `if __name__ == "__main__":`, where `main` is the function under `@hydra.main`.

    Rewrites `sys.argv` by `canonical` and ends in one sentence and exit status 2 where the user gave something that
    can't be used; HYDRA_FULL_ERROR=1 adds the traceback. A sweep ends with a summary of its jobs: finished, failed,
    missing. For the configuration, and for the processes that launchers
    start, it exports ACTIVESSF_ROOT (the repository, absolute), ACTIVESSF_PROCESS (this process's id),
    ACTIVESSF_SCRIPT (the script's path), ACTIVESSF_COMMAND (the command line as typed), and the repository on
    PYTHONPATH.

    Args:
        main: Takes no argument: Hydra reads the command line.
        conf: Folder of the configuration; its parent is the repository.

    Raises:
        SystemExit: Status 2 after a user's mistake (in a sweep, if all jobs that failed did so by one), 1 after another
            error, 130 after Ctrl-C, 143 after SIGTERM, 138 after SIGUSR1.
    """
    _export_environment(conf.parent)
    typed = shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])
    os.environ[COMMAND] = os.environ.get(PART_OF) or typed
    os.environ[SCRIPT] = os.path.abspath(sys.argv[0])
    forget_sweep()
    try:
        with leaving_on_signals():  # as on Ctrl-C, so that a sweep can still say what is missing
            _start(main, conf)
    except BaseException as ending:
        status = _end_sweep()
        stopped = isinstance(ending, SystemExit) and ending.code in STOPPED_STATUSES
        if status and not stopped:
            raise SystemExit(status) from ending
        raise
    if status := _end_sweep():
        raise SystemExit(status)


def _start(main: Callable[[], Any], conf: Path) -> None:
    try:
        sys.argv[1:] = _as_rank(canonical(sys.argv[1:], conf))
        with _mistakes_reported(conf):
            main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED_STATUS) from None
    except Exception as error:
        sentence = mistake(error, conf)
        if sentence is None:
            raise
        if full_errors():
            traceback.print_exc()
        fail(sentence, error)


def _end_sweep() -> int:
    """Print the summary of the sweep, if this process has started one; returns the exit status it asks for."""
    sweep = sweep_of_this_process()
    if sweep is None:
        return 0
    plans = read_plans([record.folder for record in sweep.records])
    if plans:
        print(told(plans), flush=True)
    if not plans or sweep.failed or sweep.missing:
        print(summary(sweep), file=sys.stderr if sweep.failed or sweep.missing else sys.stdout, flush=True)
    return exit_status(sweep, MISTAKE_STATUS)


def _as_rank(arguments: list[str]) -> list[str]:
    """The command line of one of several processes: only process 0 has a folder and a log of its own.

    Raises:
        InputError: It is a sweep.
    """
    rank = own_rank()
    if rank.count > 1 and is_sweep(*split_flags(arguments)):
        raise InputError(
            "A sweep (-m) can't be started by torchrun or srun as a whole; leave them away: with trainer.devices=N "
            "each of its jobs starts processes of its own."
        )
    return arguments if rank.index == 0 else [*arguments, *_WITHOUT_FOLDER]


def _export_environment(root: Path) -> None:
    # Both stand in conf/config.yaml: where outputs go, and what tells apart runs started in the same second.
    os.environ["ACTIVESSF_ROOT"] = str(root)
    os.environ["ACTIVESSF_PROCESS"] = str(os.getpid())
    # Launchers start processes with a working directory and a script folder of their own.
    paths = os.environ.get("PYTHONPATH", "")
    if str(root) not in paths.split(os.pathsep):
        os.environ["PYTHONPATH"] = f"{root}{os.pathsep}{paths}" if paths else str(root)


@contextmanager
def _mistakes_reported(conf: Path) -> Iterator[None]:
    """End Hydra's runs by our sentence where `mistake` has one; all other errors Hydra prints in its way."""
    # Hydra has no public place for this. Where a later release has no such function its own message is printed.
    original = getattr(hydra_internals, "run_and_report", None)
    if original is None or full_errors():
        yield
        return

    def run_and_report(function: Callable[[], Any]) -> Any:
        def call() -> Any:
            try:
                return function()
            except Exception as error:
                if (sweep := sweep_of_this_process()) is not None and sweep.failed:
                    # Each failed job has said what was wrong, and the summary will.
                    raise SystemExit(exit_status(sweep, MISTAKE_STATUS)) from error
                if isinstance(error, JobFailed):
                    print(f"error: {error}", file=sys.stderr)
                    raise SystemExit(error.status) from error
                sentence = mistake(error, conf)
                if sentence is None:
                    raise
                fail(sentence, error)

        return original(call)

    hydra_internals.run_and_report = run_and_report  # type: ignore[assignment]
    try:
        yield
    finally:
        hydra_internals.run_and_report = original
