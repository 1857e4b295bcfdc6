"""Where curves and metrics go: W&B, and always a CSV file."""

from __future__ import annotations

import logging
import netrc
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb
from pytorch_lightning.loggers import Logger, WandbLogger

from activessf.errors import InputError
from activessf.manifests import write_text

log = logging.getLogger(__name__)

WANDB_SERVER = "https://api.wandb.ai"
_MODES = ("online", "offline", "disabled", "shared", "run", "dryrun")  # what W&B takes; the last three are rare
_INIT_SECONDS = 30  # that a server may take to answer
_BUSY_SECONDS = 600  # that this machine may take


def wandb_logger(
    project: str,
    mode: str | None,
    *,
    name: str,
    group: str,
    directory: Path,
    config: dict[str, Any],
    run_id: str | None = None,
    job_type: str | None = None,
) -> list[Logger]:
    """A W&B run; the caller closes it with `wandb.finish()` at the end of its job.

    Args:
        project: W&B project.
        mode: online, offline or disabled; None = WANDB_MODE of the environment if set, else online for a user with a
            key or login, offline for everyone else (W&B would stop the run to ask). A server that doesn't answer
            turns online into offline.
        name: Name of the run.
        group: Runs of one configuration, all folds, share it.
        directory: Where W&B writes, in a subfolder `wandb`.
        config: What ran; plain values.
        run_id: A run of this id that is there already is continued; None = a new run.
        job_type: Kind of run, to filter by.

    Raises:
        InputError: There is no such mode.
    """
    mode = mode or os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
    if mode not in _MODES:
        raise InputError(f"logger.mode (or WANDB_MODE) is {mode}; give online, offline or disabled.")
    directory.mkdir(parents=True, exist_ok=True)

    def logger(in_mode: str) -> WandbLogger:
        # Silent: the run's own log tells what matters. Only a server may be given up: a busy machine is waited for.
        seconds = _INIT_SECONDS if in_mode == "online" else _BUSY_SECONDS
        return WandbLogger(
            name,
            directory,
            id=run_id,
            group=group,
            job_type=job_type,
            project=project,
            config=config,
            mode=in_mode,
            settings=wandb.Settings(silent=True, init_timeout=seconds),
        )

    started = logger(mode)
    try:
        started.experiment  # noqa: B018  starts the run: better here than in the first training step
    except wandb.errors.Error as error:
        if mode != "online":
            raise
        log.warning("W&B can't be reached (%s); this run is logged offline.", error)
        started = logger("offline")
    return [started]


def no_logger(**described: Any) -> list[Logger]:
    """Nothing beside the CSV file."""
    return []


def kept_id(path: Path) -> str:
    """The id of a W&B run, kept in a file: while that is there, an attempt that was stopped goes on in the same run."""
    if not path.is_file():
        write_text(secrets.token_hex(6), path)
    return path.read_text(encoding="utf-8").strip()


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    # Where W&B itself looks; NETRC names another file than ~/.netrc.
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or WANDB_SERVER).netloc
    try:
        return netrc.netrc(Path(os.environ.get("NETRC") or "~/.netrc").expanduser()).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
