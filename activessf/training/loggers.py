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
_INIT_SECONDS = 30


def wandb_logger(
    project: str,
    mode: str | None,
    *,
    name: str,
    group: str,
    directory: Path,
    config: dict[str, Any],
    id_file: Path | None = None,
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
        id_file: Keeps the id of the W&B run; where it is there, from an attempt that was stopped, that run goes on.
            None = a run of its own.

    Raises:
        InputError: There is no such mode.
    """
    mode = mode or os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
    if mode not in _MODES:
        raise InputError(f"logger.mode (or WANDB_MODE) is {mode}; give online, offline or disabled.")
    directory.mkdir(parents=True, exist_ok=True)
    run_id = None if id_file is None else _kept_id(id_file)
    # Silent: the run's own log tells what matters.
    settings = wandb.Settings(silent=True, init_timeout=_INIT_SECONDS)

    def logger(in_mode: str) -> WandbLogger:
        return WandbLogger(
            name,
            directory,
            id=run_id,
            group=group,
            project=project,
            config=config,
            mode=in_mode,
            settings=settings,
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


def no_logger(
    *, name: str, group: str, directory: Path, config: dict[str, Any], id_file: Path | None = None
) -> list[Logger]:
    """Nothing beside the CSV file."""
    return []


def _kept_id(path: Path) -> str:
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
