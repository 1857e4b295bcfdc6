"""The jobs of a Hydra sweep as commands, and what Hydra is told of how they ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from activessf.errors import InputError, JobFailed
from activessf.launching.command import job_command

OUTPUT_FILE = "output.log"


@dataclass(frozen=True)
class Job:
    """A job of a sweep.

    Attributes:
        number: Its number in the sweep.
        words: Its overrides, for people.
        command: Runs it.
        folder: Its folder.
        needs: Devices that it asks for; None = all that there are.
        config: Its composed configuration.
    """

    number: int
    words: str
    command: Sequence[str]
    folder: Path
    needs: int | None
    config: DictConfig

    def told(self) -> str:
        """The job in words."""
        return f"job {self.number} ({self.words})"


def jobs_of(context: HydraContext, config: DictConfig, overrides: Iterable[Sequence[str]], first: int) -> list[Job]:
    """The jobs of a sweep.

    Args:
        context: Hydra's.
        config: The sweep's configuration.
        overrides: Those of each job.
        first: Number of the first.

    Raises:
        InputError: A job names its devices, or asks for none.
    """
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    jobs = []
    for number, own in enumerate(overrides, first):
        composed = context.config_loader.load_sweep_config(config, list(own))
        with open_dict(composed):
            composed.hydra.job.num = number
            composed.hydra.job.id = str(number)
        place = folder(config) / str(composed.hydra.sweep.subdir)
        command = job_command(composed.hydra, place)
        words = " ".join(filter_overrides(own))
        jobs.append(Job(number, words, command, place, _needed(composed), composed))
    return jobs


def folder(config: DictConfig) -> Path:
    """The folder of a sweep."""
    return Path(str(config.hydra.sweep.dir)).absolute()


def accelerator(config: DictConfig) -> str:
    """What the trainer is to compute on."""
    return str(OmegaConf.select(config, "trainer.accelerator", default="auto"))


def returned(jobs: Sequence[Job], statuses: Sequence[int]) -> list[JobReturn]:
    """What Hydra is told: a failed job's exception is raised once all have ended.

    Args:
        jobs: The jobs.
        statuses: Exit status of each.
    """
    results = []
    for job, status in zip(jobs, statuses, strict=True):
        result = JobReturn(overrides=list(job.config.hydra.overrides.task), working_dir=str(job.folder))
        result.hydra_cfg = OmegaConf.masked_copy(job.config, "hydra")
        result.cfg = OmegaConf.masked_copy(job.config, [str(key) for key in job.config if key != "hydra"])
        result.status = JobStatus.FAILED if status else JobStatus.COMPLETED
        if status:
            result.return_value = JobFailed(f"{job.told()} has failed; see {job.folder / OUTPUT_FILE}.", status)
        else:
            result.return_value = None
        results.append(result)
    return results


def _needed(config: DictConfig) -> int | None:
    devices: Any = OmegaConf.select(config, "trainer.devices", default=1)
    if devices in ("auto", -1, "-1"):
        return None
    if isinstance(devices, str) and devices.isdigit():
        devices = int(devices)
    if not isinstance(devices, int) or devices < 1:
        raise InputError(
            f"trainer.devices={devices} names devices, but this launcher chooses them; give their number, or auto."
        )
    return devices
