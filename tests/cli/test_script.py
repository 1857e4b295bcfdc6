import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from calling import ROOT
from omegaconf import DictConfig, OmegaConf
from program import ON_DEVICES, Runner, newest_sweep, overrides_of_newest_sweep, start_in_this_process

from activessf.cli.script import start


def test_every_script_offers_the_same_help() -> None:
    answers = [
        subprocess.run([sys.executable, str(ROOT / script), "--help"], capture_output=True, text=True, timeout=60)
        for script in ("preprocess.py", "train.py")
    ]
    for answer in answers:
        assert answer.returncode == 0, answer.stderr
        assert "ssl_method" in answer.stdout
        assert "fold: 0, 1, 2, 3, 4" in answer.stdout


def test_cfg_shows_the_method_and_the_fold(call: Runner) -> None:
    done = call("ssl=mixmim", "--cfg", "job", "fold=3")
    shown = OmegaConf.create(done.stdout)
    assert isinstance(shown, DictConfig)
    assert (done.returncode, shown.ssl_method.name, shown.fold.index) == (0, "mixmim", 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "launcher"),
    [
        ("ssl=mae selection=activessf fold=0..4 -m", "basic"),
        ("ssl=mae -m selection=activessf fold=0..4", "devices"),
        ("-m ssl=mae selection=activessf fold=range(0,5)", "basic"),
    ],
)
def test_a_sweep_runs_one_job_a_fold_and_records_plain_overrides(
    line: str, launcher: str, call: Runner, app: Path
) -> None:
    workers = ON_DEVICES if launcher == "devices" else []
    done = call(*line.split(), *workers)
    assert done.returncode == 0, done.stderr
    said = done.stdout + "".join(path.read_text() for path in newest_sweep(app).glob("*/output.log"))
    assert sorted(re.findall(r"ran mae (\d) activessf", said)) == ["0", "1", "2", "3", "4"]
    assert overrides_of_newest_sweep(app) == [
        ["ssl_method=mae", "selection=activessf", f"fold='{fold}'"] for fold in range(5)
    ]


def test_a_failed_job_does_not_stop_a_sweep_but_its_exit_status_is_2(call: Runner) -> None:
    done = call("fail=input", "fold=0..4", "-m")
    assert done.returncode == 2
    assert [line for line in done.stdout.splitlines() if line.startswith("ran ")] == [
        f"ran mae {fold} none" for fold in (0, 2, 4)
    ]
    assert "error in job 1 (fail=input fold='1'): fold 1 is empty; take another.\n" in done.stderr
    assert "error in job 3 (fail=input fold='3'): fold 3 is empty; take another.\n" in done.stderr
    assert "\n5 jobs: 3 finished, 2 failed, 0 missing.\n" in done.stderr
    assert re.search(
        r"  failed   1 fail=input fold='1'\n           \S+/1\n           \| fold 1 is empty; take another.\n",
        done.stderr,
    )
    assert done.stderr.endswith("The same command runs the failed and the missing ones again, and those alone.\n")
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_failed_jobs_in_other_processes_are_told_too(call: Runner, app: Path) -> None:
    done = call("fail=input", "fold=0..4", "-m", *ON_DEVICES)
    assert done.returncode == 2
    said = "".join(path.read_text() for path in newest_sweep(app).glob("*/output.log"))
    assert said.count("ran mae") == 3
    assert "fold 1 is empty" in done.stderr and "fold 3 is empty" in done.stderr
    assert "5 jobs: 3 finished, 2 failed, 0 missing." in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_defect_keeps_its_traceback_and_ends_with_status_1(call: Runner) -> None:
    done = call("fail=defect", "fold=1..3", "-m")
    assert done.returncode == 1
    assert "ran mae 2" in done.stdout
    assert "RuntimeError: defect in fold 1" in done.stderr
    assert "RuntimeError: defect in fold 3" in done.stderr
    assert "3 jobs: 1 finished, 2 failed, 0 missing." in done.stderr
    assert done.stderr.count("Traceback") == 2  # each once, as it happens
    assert "Traceback" in done.stderr


def test_sigterm_ends_a_sweep_with_what_is_missing(call: Runner) -> None:
    done = call("fail=killed", "fold=0..4", "-m")
    assert done.returncode == 143 and "Traceback" not in done.stderr
    assert "5 jobs: 2 finished, 0 failed, 3 missing.\n" in done.stderr
    missing = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("  missing")]
    assert missing == ["2", "3", "4"]


def test_a_sweep_that_never_began_has_no_summary(call: Runner) -> None:
    done = call("fold=0,7", "-m")
    assert done.returncode == 2 and "jobs:" not in done.stderr


@pytest.mark.parametrize(("fail", "expected"), [("sigterm", 143), ("ctrl-c", 130), ("ctrl-c-in-fit", 130), ("no", 0)])
@pytest.mark.parametrize("mode", [[], ["-m"]])
def test_signals_give_the_exit_status_that_shells_expect(
    fail: str,
    expected: int,
    mode: list[str],
    app: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    status, output = start_in_this_process([f"fail={fail}", *mode], app, monkeypatch, capfd)
    assert status == expected
    assert "Traceback" not in output


def test_start_exports_the_repository_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("PYTHONPATH", "/first")
    for name in ("ACTIVESSF_ROOT", "ACTIVESSF_PROCESS"):
        monkeypatch.setenv(name, "of another run")
    for _ in range(2):
        start(lambda: None)
    assert os.environ["PYTHONPATH"] == os.pathsep.join([str(ROOT), "/first"])
    assert os.environ["ACTIVESSF_ROOT"] == str(ROOT)
    assert os.environ["ACTIVESSF_PROCESS"] == str(os.getpid())
    monkeypatch.setenv("PYTHONPATH", "")
    start(lambda: None)
    assert os.environ["PYTHONPATH"] == str(ROOT)


def test_importing_the_command_line_brings_neither_torch_nor_pandas() -> None:
    brought = "{'torch', 'pytorch_lightning', 'pandas'} & set(sys.modules)"
    code = f"import sys, activessf.cli.job, activessf.cli.script; print({brought})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
