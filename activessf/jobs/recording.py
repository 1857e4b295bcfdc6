"""Run a job, and keep in its folder what it is doing and how it ended."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from activessf.jobs.heartbeat import Heartbeat
from activessf.jobs.record import FAILED, STOPPED
from activessf.launching.command import job_number
from activessf.launching.ranks import own_rank


def recorded(job: Callable[[], Path], mistake: Callable[[BaseException], str | None]) -> Path:
    """Run a job of Hydra's and keep its `status.json`; without Hydra, just run it.

    Args:
        job: Returns the file or folder of its result.
        mistake: Says what the user did wrong, if that was it.

    Returns:
        What the job returned.
    """
    if not HydraConfig.initialized() or own_rank().index > 0:  # process 0 of a training speaks for all
        return job()
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    heartbeat = Heartbeat(folder, job_number(), list(hydra.overrides.task), folder / f"{hydra.job.name}.log")
    heartbeat.start()
    try:
        result = job()
    except Exception as error:
        sentence = mistake(error)
        text = sentence or traceback.format_exc()
        heartbeat.end(FAILED, error=text, mistake=sentence is not None)
        _log_to_file(text)
        raise
    except BaseException:
        heartbeat.end(STOPPED)
        raise
    heartbeat.end(result=str(result))
    return result


def _log_to_file(text: str) -> None:
    """Put a text into the job's log alone: on the screen it stands already."""
    record = logging.makeLogRecord({"name": __name__, "levelno": logging.ERROR, "levelname": "ERROR", "msg": text})
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
