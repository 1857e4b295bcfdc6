"""hydra/launcher=slurm, with an sbatch that only looks."""

import os
import re
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SBATCH = """#!/bin/sh
cp "$1" "{seen}/script.sh"
env > "{seen}/env.txt"
echo "Submitted batch job 4123"
"""


@pytest.mark.slow
def test_the_preset_asks_slurm_for_what_a_training_needs(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {
        "sbatch": SBATCH.format(seen=tmp_path),
        "srun": "#!/bin/sh\n",
        # What submitit asks until a job has ended.
        "sacct": "#!/bin/sh\necho 'JobID|State|NodeList\\n4123_0|FAILED|n1\\n4123_1|FAILED|n1'\n",
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod((programs / name).stat().st_mode | stat.S_IEXEC)
    subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "fold=0,1", "-m", f"paths.output_dir={tmp_path}/out",
         "trainer.devices=2",
         "hydra/launcher=slurm", "hydra.launcher.partition=gpu", "recipe=quick"],
        cwd=tmp_path, env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}, capture_output=True,
        timeout=120,
    )  # fmt: skip
    asked = dict(re.findall(r"#SBATCH --([\w-]+)=(\S+)", (tmp_path / "script.sh").read_text()))
    assert asked["partition"] == "gpu" and asked["gpus-per-node"] == "2" and asked["array"].startswith("0-1")
    assert asked["nodes"] == "1" and asked["ntasks-per-node"] == "1" and asked["time"] == "1440"
    assert asked["signal"].startswith("USR2@") and asked["cpus-per-task"] == "8" and asked["mem"] == "32GB"
    told = (tmp_path / "env.txt").read_text()
    assert re.search(rf"^PYTHONPATH={ROOT}", told, re.M) and f"ACTIVESSF_SCRIPT={ROOT}/train.py" in told


@pytest.mark.skipif(
    find_spec("hydra_plugins.hydra_submitit_launcher") is not None, reason="needs a place without submitit"
)
def test_without_submitit_there_is_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "fold=0,1", "-m", "hydra/launcher=slurm"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "error: hydra/launcher=slurm needs submitit; install it: pip install -e '.[slurm]'.\n"
