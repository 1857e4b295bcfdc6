"""What ran: command line, options, versions, revision. It stands beside every result."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from activessf import __version__
from activessf.configuration import CONF, plain

_PACKAGES = (
    "torch", "torchvision", "pytorch-lightning", "timm", "hydra-core", "omegaconf", "numpy", "scipy", "scikit-learn",
    "opencv-python-headless", "pandas", "wandb",
)  # fmt: skip


_GROUPS = (
    "data", "regions", "backbone", "ssl_method", "selection/features", "selection", "loss", "sampler", "evaluation",
    "recipe",
)  # fmt: skip


def provenance() -> dict[str, Any]:
    """Options chosen of the groups that have a part in results, overrides, command line, versions and revision."""
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    chosen = {} if hydra is None else hydra.runtime.choices
    return {
        "choices": {group: str(chosen[group]) for group in _GROUPS if group in chosen},
        "overrides": [] if hydra is None else list(hydra.overrides.task),
        "command": os.environ.get("ACTIVESSF_COMMAND"),  # as typed; set by the scripts
        "versions": versions(),
        "git": git_revision(),
    }


def versions() -> dict[str, str]:
    """Versions of this project, of Python and of the packages that have a part in numbers."""
    found = {"activessf": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def frozen_requirements() -> str:
    """All packages that are installed, as `pip freeze` names them: a text of lines name==version."""
    found = {f"{package.metadata['Name']}=={package.version}" for package in distributions()}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def rerunnable(config: DictConfig) -> str:
    """A configuration as a file, resolved, that `train.py --config-path FOLDER` runs again.

    Hydra's own settings and the names of the options chosen, which tables use, stand in it as well.
    """
    hydra = plain(OmegaConf.load(CONF / "config.yaml").hydra, resolve=False)
    hydra["runtime"] = {"choices": dict(HydraConfig.get().runtime.choices) if HydraConfig.initialized() else {}}
    line = '# Again: python train.py --config-path "$PWD/<this folder>" paths.output_dir=<another folder>\n'
    return line + OmegaConf.to_yaml(OmegaConf.create({**plain(config), "hydra": hydra}))


def git_revision() -> str | None:
    """Commit of the checkout that this code stands in, "+changes" if it was edited; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def device(accelerator: str) -> str:
    """The device that a Trainer with this accelerator works on, as people call it: a GPU's name, or the CPU's cores."""
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU with {cores} core{'' if cores == 1 else 's'}"


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
