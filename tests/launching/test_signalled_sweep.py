"""A real sweep that is told to go while a job of it trains, and the same command again."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny import TINY, on

SCRIPT = Path(__file__).resolve().parents[2] / "train.py"
STEPS = 20


@contextmanager
def begun(output: Path, settings: list[str]) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), *TINY, *settings, f"paths.output_dir={output}", "-m"]
    sweep = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield sweep
    finally:
        sweep.terminate()  # if it has not ended; it ends its jobs
        sweep.wait()


@pytest.mark.slow
def test_a_sweep_that_is_told_to_go_keeps_the_step_of_its_job_and_goes_on_from_there(
    demo: Path, tmp_path: Path
) -> None:
    output = tmp_path / "outputs"
    settings = [
        *on(demo), "ssl=mae", "selection=crf", "fold=0", f"recipe.pretraining.steps={STEPS}",
        "recipe.pretraining.batch_size=4", "watch.every=0",
        "hydra/launcher=devices", "hydra.launcher.n_jobs=1", f"hydra.launcher.leases={tmp_path / 'leases'}",
    ]  # fmt: skip
    with begun(output, [*settings, "checkpoint_minutes=0.001"]) as sweep:
        deadline = time.monotonic() + 600
        while not list(output.glob("checkpoints/*/*.ckpt")):
            assert sweep.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        sweep.send_signal(signal.SIGUSR1)  # the sweep ends its jobs by SIGTERM
        said = sweep.communicate(timeout=600)[0]
    assert sweep.returncode == 138, said
    assert "1 jobs: 0 finished, 0 failed, 1 missing." in said
    (folder,) = (path for path in (output / "jobs").iterdir())
    logged = (folder / "0" / "train.log").read_text()
    assert "Told to go by SIGTERM; the same command goes on from here." in logged
    step = max(int(path.stem) for path in output.glob("checkpoints/*/*.ckpt"))
    with begun(output, settings) as again:  # how often it saves is no part of what a result is
        said = again.communicate(timeout=600)[0]
    assert again.returncode == 0, said
    assert "1 jobs: 1 finished, 0 failed, 0 missing." in said
    (folder,) = (path for path in (output / "jobs").iterdir() if path != folder)
    assert re.search(rf"goes on from step {step}\.", (folder / "0" / "train.log").read_text())
    assert len(list(output.glob("runs/*/fold_*/predictions.csv"))) == 1
    assert not list(output.glob("checkpoints/*"))
