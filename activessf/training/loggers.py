"""Where curves and metrics go: W&B, and always a CSV file."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import Any

import wandb
from pytorch_lightning.loggers import Logger, WandbLogger

WANDB_HOST = "api.wandb.ai"


def wandb_logger(
    project: str, mode: str | None, *, name: str, group: str, directory: Path, config: dict[str, Any]
) -> list[Logger]:
    """A W&B run; the caller closes it with `wandb.finish()` at the end of its job.

    Args:
        project: W&B project.
        mode: online, offline or disabled; None = WANDB_MODE of the environment if set, else online for a user with a
            key or login, offline for everyone else (W&B would stop the run to ask).
        name: Name of the run.
        group: Runs of one configuration, all folds, share it.
        directory: Where W&B writes, in a subfolder `wandb`.
        config: What ran; plain values.
    """
    mode = mode or os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
    directory.mkdir(parents=True, exist_ok=True)
    quiet = wandb.Settings(silent=True)  # the run's own log tells what matters
    return [WandbLogger(name, directory, group=group, project=project, config=config, mode=mode, settings=quiet)]


def no_logger(*, name: str, group: str, directory: Path, config: dict[str, Any]) -> list[Logger]:
    """Nothing beside the CSV file."""
    return []


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(WANDB_HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False
