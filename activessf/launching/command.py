"""A job as a command line of its own: what a sweep's job, or a process of a training, is started with."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

# Set by `cli.script.start`, and told on by launchers to the processes that they start.
SCRIPT = "ACTIVESSF_SCRIPT"  # the script's path
COMMAND = "ACTIVESSF_COMMAND"  # the command line as it was typed
PART_OF = "ACTIVESSF_PART_OF"  # of a process that we have started: the command line that it is a part of
AT_A_TIME = "ACTIVESSF_AT_A_TIME"  # of a job: how many such run side by side
CORES = "ACTIVESSF_CORES"  # of a job: cores that are its own

_OF_THE_SWEEP = ("hydra.mode", "hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep.")


def job_command(hydra: DictConfig, folder: Path, *more: str) -> list[str]:
    """The command that runs one job, alone, into a folder of its own.

    Args:
        hydra: The job's configuration below `hydra`.
        folder: Its folder, absolute.
        *more: Further overrides.
    """
    own = [override for override in hydra.overrides.hydra if not override.lstrip("+~").startswith(_OF_THE_SWEEP)]
    command = [sys.executable, os.environ[SCRIPT], *_config_flags(hydra)]
    command += [*own, *hydra.overrides.task, f"hydra.run.dir={quoted(str(folder))}"]
    number = job_number(hydra)
    if number is not None:
        command.append(f"hydra.job.num={number}")  # which also says that it is a job of a sweep
    return [*command, *more]


def own_node() -> DictConfig:
    """The configuration of this job below `hydra`."""
    return cast(DictConfig, HydraConfig.get())


def job_number(hydra: DictConfig | None = None) -> int | None:
    """Number of a job in its sweep; None in a single run.

    Args:
        hydra: The job's configuration below `hydra`; None = this job's, if it is one of Hydra's.
    """
    if hydra is None:
        if not HydraConfig.initialized():
            return None
        hydra = own_node()
    return None if OmegaConf.is_missing(hydra.job, "num") or hydra.job.num is None else int(hydra.job.num)


def in_sweep() -> bool:
    """Whether this job is one of a sweep (-m), in this process or one that was started for the job."""
    return job_number() is not None


def jobs_at_a_time() -> int | None:
    """Jobs of this job's sweep that run side by side; None where only a cluster knows."""
    if AT_A_TIME in os.environ:
        return int(os.environ[AT_A_TIME])
    if job_number() is None:
        return None
    return (
        1 if str(own_node().launcher.get("_target_")).endswith(".BasicLauncher") and PART_OF not in os.environ else None
    )


def quoted(text: str) -> str:
    """A text as the value of an override, whatever is in it."""
    # Backslashes count only before what they could hide: a quote, an interpolation, the end.
    escaped = re.sub(r'(\\*)("|\$\{|$)', lambda match: match[1] * 2 + ("\\" if match[2] else "") + match[2], text)
    return f'"{escaped}"'


def _config_flags(hydra: DictConfig) -> Sequence[str]:
    """The flags that chose another configuration than the script's own."""
    flags = ["--config-name", str(hydra.job.config_name)] if hydra.job.config_name else []
    for source in hydra.runtime.config_sources:
        if source.provider == "command-line":
            flags += ["--config-dir", str(source.path)]
    return flags
