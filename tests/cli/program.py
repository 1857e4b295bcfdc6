"""A program like the scripts, and what it leaves behind."""

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

# A program like train.py that only says which job it is, or fails as it is told to.
PROGRAM = """
import os, signal, time
from pathlib import Path
import hydra
from omegaconf import DictConfig
from activessf.cli.job import run
from activessf.cli.script import start
from activessf.errors import InputError

class SIGTERMException(SystemExit):
    pass

def stage(config: DictConfig) -> Path:
    index = config.fold.index
    if index in (1, 3) and config.fail == "input":
        raise InputError(f"fold {index} is empty; take another.")
    if index in (1, 3) and config.fail == "caused":
        raise RuntimeError("building failed") from InputError("the cause is named.")
    if index in (1, 3) and config.fail == "defect":
        raise RuntimeError(f"defect in fold {index}")
    if config.fail == "missing":
        return Path(config.data.root)
    if config.fail == "sigterm":
        raise SIGTERMException
    if config.fail == "killed" and index == 2:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    if config.fail == "ctrl-c":
        raise KeyboardInterrupt
    if config.fail == "ctrl-c-in-fit":
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise SystemExit(1)
    print(f"ran {config.ssl_method.name} {index!r} {config.selection.name}", flush=True)
    return Path(config.paths.output_dir)

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    run(stage, config)

if __name__ == "__main__":
    start(main, Path(__file__).resolve().parent / "conf")
"""

CONFIG = """
defaults:
  - ssl_method: mae
  - selection/features: resnet50
  - selection: none
  - fold: "0"
  - _self_
seed: 0
fail: no
data:
  root: ???
paths:
  output_dir: ${oc.env:ACTIVESSF_ROOT}/outputs
hydra:
  run:
    dir: ${paths.output_dir}/${oc.env:ACTIVESSF_PROCESS}
  sweep:
    dir: ${paths.output_dir}/${oc.env:ACTIVESSF_PROCESS}
    subdir: ${hydra.job.num}
  callbacks:
    sweep:
      _target_: activessf.jobs.sweep.SweepStart
"""

ON_DEVICES = ["hydra/launcher=activessf_devices", "hydra.launcher.n_jobs=2", "hydra.launcher.leases=leases"]

Runner = Callable[..., subprocess.CompletedProcess[str]]


def newest_sweep(app: Path) -> Path:
    return max((app / "outputs").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def overrides_of_newest_sweep(app: Path) -> list[list[str]]:
    sweep = newest_sweep(app)
    jobs = sorted(path for path in sweep.iterdir() if path.is_dir())
    return [yaml.safe_load((job / ".hydra/overrides.yaml").read_text()) for job in jobs]


def start_in_this_process(
    arguments: list[str], app: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[object, str]:
    """Run the program here, which is faster; give its exit status and what it wrote to stderr."""
    for name in ("ACTIVESSF_ROOT", "ACTIVESSF_PROCESS", "PYTHONPATH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    status: object = 0
    capfd.readouterr()
    try:
        runpy.run_path(str(app / "app.py"), run_name="__main__")
    except SystemExit as ending:
        status = ending.code
    return status, capfd.readouterr().err
