"""Whole sweeps of a small program: its jobs, the processes of each, and how the sweep ends."""

import csv
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml
from calling import ROOT, called

PROGRAM = """
import os
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from activessf.cli.job import run
from activessf.cli.script import start
from activessf.errors import InputError
from activessf.launching.command import in_sweep
from activessf.launching.ranks import own_rank

def stage(config: DictConfig) -> Path:
    rank = own_rank()
    if config.fail == f"{config.seed}-{rank.index}":
        raise InputError(f"seed {config.seed} has no cell.")
    folder = Path(HydraConfig.get().runtime.output_dir)
    print(f"seed {config.seed} text {config.text!r} rank {rank.index} of {rank.count} in {folder} "
          f"sweep {in_sweep()} gpu {os.environ.get('CUDA_VISIBLE_DEVICES')} as {os.environ['ACTIVESSF_COMMAND']}")
    return Path(config.paths.output_dir)

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    run(stage, config, lambda config: config.trainer.devices if isinstance(config.trainer.devices, int) else 1)

if __name__ == "__main__":
    start(main, Path(__file__).resolve().parent / "conf")
"""

CONFIG = """
seed: 0
text: plain
fail: none
trainer: {devices: 1, accelerator: auto}
paths:
  output_dir: ${oc.env:ACTIVESSF_ROOT}/outputs
hydra:
  run:
    dir: ${paths.output_dir}/${oc.env:ACTIVESSF_PROCESS}
  sweep:
    dir: ${paths.output_dir}/${oc.env:ACTIVESSF_PROCESS}
    subdir: ${hydra.job.num}
"""

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Run the program, from a foreign working directory."""
    app = tmp_path / "an app"  # blanks are to survive
    (app / "conf" / "hydra" / "launcher").mkdir(parents=True)
    (app / "app.py").write_text(PROGRAM)
    (app / "conf" / "config.yaml").write_text(CONFIG)
    for preset in ("devices", "ray"):
        text = (ROOT / "conf" / "hydra" / "launcher" / f"{preset}.yaml").read_text()
        (app / "conf" / "hydra" / "launcher" / f"{preset}.yaml").write_text(text)
    return partial(called, app / "app.py", tmp_path)


def sweep_of(tmp_path: Path) -> Path:
    (sweep,) = (tmp_path / "an app" / "outputs").iterdir()
    return sweep


def test_a_job_with_two_devices_is_two_processes_with_one_folder_and_one_voice(call: Call, tmp_path: Path) -> None:
    done = call("trainer.devices=2", "text='a ${seed} \"b\"'")
    assert done.returncode == 0, done.stderr
    folder = sweep_of(tmp_path)
    command = "as python app.py trainer.devices=2"
    assert done.stdout.startswith("seed 0 text 'a 0 \"b\"' rank 0 of 2") and command in done.stdout
    assert done.stdout.count("The result is in") == 1 and "rank 1" not in done.stdout
    assert "rank 1 of 2" in (folder / "rank_1.log").read_text()
    assert yaml.safe_load((folder / ".hydra" / "hydra.yaml").read_text())["hydra"]["mode"] == "RUN"


def test_the_jobs_of_a_sweep_are_teams_one_after_the_other(call: Call, tmp_path: Path) -> None:
    done = call("trainer.devices=2", "seed=3,4", "-m")
    assert done.returncode == 0, done.stderr
    for number, seed in enumerate((3, 4)):
        folder = sweep_of(tmp_path) / str(number)
        assert f"seed {seed} text 'plain' rank 0 of 2 in {folder} sweep True" in done.stdout
        assert f"seed {seed} text 'plain' rank 1 of 2" in (folder / "rank_1.log").read_text()
        overrides = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text())
        assert overrides == ["trainer.devices=2", f"seed={seed}"]
    assert len(list(sweep_of(tmp_path).parent.iterdir())) == 1  # no job has begun a sweep of its own


def test_a_mistake_in_a_team_is_told_once_and_the_next_job_runs(call: Call) -> None:
    done = call("trainer.devices=2", "seed=3,4", "fail=3-0", "-m")
    assert done.returncode == 2
    assert done.stderr.count("seed 3 has no cell.") == 1 and "error in job 0 (" in done.stderr
    assert "seed 4 text 'plain' rank 0 of 2" in done.stdout and "Traceback" not in done.stderr


def test_a_mistake_that_only_another_process_makes_is_shown(call: Call) -> None:
    done = call("trainer.devices=2", "fail=0-1")
    assert done.returncode == 2 and "error: seed 0 has no cell." in done.stderr


def test_a_sweep_is_not_started_by_torchrun(call: Call) -> None:
    done = call("seed=0,1", "-m", RANK="1", WORLD_SIZE="2", LOCAL_RANK="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="1")
    assert done.returncode == 2 and "A sweep (-m) can't be started by torchrun" in done.stderr


def test_a_sweep_on_leased_gpus(call: Call, tmp_path: Path) -> None:
    leases = f"hydra.launcher.leases={tmp_path / 'leases'}"
    done = call(
        *("seed=0..3", "-m", "hydra/launcher=devices", leases, "fail=2-0", "+hydra.job.env_set.X=1"),
        CUDA_VISIBLE_DEVICES="5,7",
    )
    assert done.returncode == 2, done.stderr
    assert "seed 2 has no cell." in done.stderr and done.stderr.count("job 2 (") >= 1 and "Traceback" not in done.stderr
    sweep = sweep_of(tmp_path)
    for number in (0, 1, 3):
        said = (sweep / str(number) / "output.log").read_text()
        assert f"seed {number} text 'plain' rank 0 of 1 in {sweep / str(number)} sweep True gpu " in said
        assert said.partition("gpu ")[2][0] in "57" and " as python app.py seed=0..3 -m" in said
        assert yaml.safe_load((sweep / str(number) / ".hydra" / "overrides.yaml").read_text())[0] == f"seed={number}"
    with (sweep / "leases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["device"] for row in rows} == {"5", "7"} and len(rows) == 8


def test_a_job_with_two_gpus_is_a_team_on_them(call: Call, tmp_path: Path) -> None:
    leases = f"hydra.launcher.leases={tmp_path / 'leases'}"
    done = call(
        "seed=0,1", "trainer.devices=2", "-m", "hydra/launcher=devices", leases, CUDA_VISIBLE_DEVICES="5,7,9"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for number in range(2):
        said = (sweep_of(tmp_path) / str(number) / "output.log").read_text()
        assert "rank 0 of 2" in said and "gpu 5,7 " in said


def test_devices_that_are_named_are_refused_before_anything_runs(call: Call, tmp_path: Path) -> None:
    done = call("seed=0,1", "trainer.devices=[0]", "-m", "hydra/launcher=devices", CUDA_VISIBLE_DEVICES="5,7")
    assert done.returncode == 2 and "trainer.devices=[0] names devices, but this launcher chooses them" in done.stderr
    assert not (sweep_of(tmp_path) / "0").exists() if (tmp_path / "an app" / "outputs").exists() else True
