"""A sweep of two folds, killed while it writes a checkpoint, while it publishes, and at any moment."""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import kill_moments
import kill_train
import numpy as np
import pytest
from killing import members
from tiny import TINY, on

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")


def give(arguments: list[str], temporary: Path) -> None:
    """Be the command, in a session of its own."""
    os.setsid()
    temporary.mkdir(parents=True, exist_ok=True)
    console = os.open(temporary / "console.txt", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(console, 1)
    os.dup2(console, 2)
    os.environ |= {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")


class Forked:
    """The command, forked off a process that has imported what it needs: that takes most of its time."""

    def __init__(self, settings: list[str], output: Path) -> None:
        arguments = [str(kill_train.REPOSITORY / "train.py"), *settings, f"paths.output_dir={output}", "-m"]
        self._process = multiprocessing.get_context("forkserver").Process(
            target=give, args=(arguments, output / "temporary")
        )
        self._process.start()
        while os.getsid(self.pid) != self.pid and self.poll() is None:
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode


@pytest.mark.slow
def test_a_sweep_that_is_killed_again_and_again_ends_with_the_same_files(demo: Path, tmp_path: Path) -> None:
    multiprocessing.get_context("forkserver").set_forkserver_preload(["activessf.commands"])
    settings = [*TINY, *on(demo), "ssl=mae", "selection=activessf", "fold=0,1", "checkpoint_minutes=0", "watch.every=0"]
    tally = kill_train.chaos(lambda output: Forked(settings, output), tmp_path, kills=4, seed=0)
    assert tally.findings == []
    assert tally.sweeps >= 1
    assert tally.kills == {
        ("group", "any"): 1,
        ("parent", "checkpoint"): 1,
        ("group", "publishing"): 1,
        ("parent", "any"): 1,
    }
    kinds = {Path(name).suffix for name in kill_train.results(tmp_path / "undisturbed")}
    assert kinds == {".csv", ".json", ".safetensors"}


def sleeping(code: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True)


def test_a_moment_has_come_only_if_it_still_holds_when_all_processes_stand_still(tmp_path: Path) -> None:
    writing = f"""
import time
from pathlib import Path
folder = Path({str(tmp_path)!r}) / "checkpoints" / "a"
folder.mkdir(parents=True)
for number in range(1000):
    written = folder / f".{{number}}.ckpt"
    written.touch()
    time.sleep(0.01)
    written.unlink()
"""
    process = sleeping(writing)
    assert kill_moments.come("checkpoint", tmp_path, process, False, 10.0, np.random.default_rng(0))
    there = list((tmp_path / "checkpoints" / "a").iterdir())
    time.sleep(0.1)
    assert len(there) == 1 and list((tmp_path / "checkpoints" / "a").iterdir()) == there
    kill_train.kill(process.pid, "parent", np.random.default_rng(0))
    assert process.wait(10) == -signal.SIGKILL


def test_a_sweep_that_ends_before_its_moment_is_not_killed(tmp_path: Path) -> None:
    for moment in kill_moments.MOMENTS:
        process = sleeping("")
        assert not kill_moments.come(moment, tmp_path, process, False, 1e6, np.random.default_rng(0))
        assert process.returncode == 0


def test_what_an_earlier_kill_has_left_is_no_moment(tmp_path: Path) -> None:
    stage = tmp_path / "stages" / "pretraining"
    (stage / ".x.partial-1").mkdir(parents=True)
    (stage / ".x.partial-1" / "inputs.json").touch()
    (stage / "y").mkdir()
    for name in (".y.lease", ".z.lease"):  # y is published, z is not
        (stage / name).touch()
    assert kill_moments.under_way("publishing", tmp_path) == {
        stage / ".x.partial-1" / "inputs.json",
        stage / ".y.lease",
    }
    process = sleeping("import time; time.sleep(1)")
    assert not kill_moments.come("publishing", tmp_path, process, False, 10.0, np.random.default_rng(0))


def test_a_changed_file_and_what_is_left_are_found(tmp_path: Path) -> None:
    names = ["runs/a/fold_0/metrics.json", "stages/pretraining/b/encoder.safetensors", "checkpoints/c/1.ckpt"]
    names += ["runs/a/.fold_0.lease", "stages/selection/.d.partial-1/x", "stages/selection/d/selection.csv"]
    for name in names:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text("now")
    found = kill_train.results(tmp_path / "out")
    assert set(found) == {names[0], names[1], names[5]}
    tally = kill_train.Tally()
    sweep = kill_train.Sweep(lambda output: sleeping(""), {**found, names[1]: b"before"}, 1.0)
    sweep.run(tmp_path / "out", 0, np.random.default_rng(0), tally)
    left = ["checkpoints/c", "checkpoints/c/1.ckpt", "runs/a/.fold_0.lease", "stages/selection/.d.partial-1"]
    assert tally.findings == [
        f"out: after 0 kills these files differ: {[names[1]]}",
        f"out: after 0 kills there is left {left}",
    ]


def test_a_child_alone_is_killed_and_the_others_go_on(tmp_path: Path) -> None:
    process = sleeping("import subprocess; raise SystemExit(-subprocess.call(['sleep', '60']))")
    assert kill_moments.come("any", tmp_path, process, True, 0.0, np.random.default_rng(0))
    assert len(members(process.pid)) == 2
    kill_train.kill(process.pid, "child", np.random.default_rng(0))
    assert kill_train.ended(process, 20) == signal.SIGKILL


def test_one_that_does_not_end_is_ended(tmp_path: Path) -> None:
    process = sleeping("import time; time.sleep(60)")
    assert kill_train.ended(process, 0.2) is None
    assert process.wait(10) == -signal.SIGKILL
