"""Jobs on made-up GPUs: the log of leases tells whether one was idle or doubled."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from activessf.errors import InputError
from activessf.launching.node import run_on_node
from activessf.launching.sweeps import Job

ROOT = Path(__file__).resolve().parents[2]
# Notes what it sees, sleeps, and ends as it is told.
PROGRAM = (
    "import os, sys, time; "
    "told = 'CUDA_VISIBLE_DEVICES', 'RANK', 'ACTIVESSF_AT_A_TIME', 'ACTIVESSF_CORES'; "
    "print(*map(os.environ.get, told), flush=True); "
    "time.sleep(float(sys.argv[1])); sys.exit(int(sys.argv[2]))"
)


def job(folder: Path, number: int, seconds: float = 0.0, status: int = 0, needs: int | None = 1) -> Job:
    command = [sys.executable, "-c", PROGRAM, str(seconds), str(status)]
    return Job(number, f"fold={number}", command, folder / str(number), needs, OmegaConf.create())


def run(folder: Path, jobs: list[Job], n_jobs: int | None = None, leases: Path | None = None) -> list[int]:
    return run_on_node(jobs, "gpu", None, n_jobs, str(leases or folder / "leases"), folder / "sweep")


@pytest.fixture(autouse=True)
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setenv("RANK", "7")  # of whatever has started the sweep


def uses(*sweeps: Path) -> pd.DataFrame:
    """Job, device, and when it was leased and freed, of sweeps."""
    log = pd.concat([pd.read_csv(sweep / "leases.csv").assign(sweep=sweep.name) for sweep in sweeps])
    times = log.pivot(index=["sweep", "job", "device"], columns="event", values="seconds").reset_index()
    assert times.notna().all(axis=None)
    return times


def most_at_once(times: pd.DataFrame) -> int:
    return max((times["leased"].le(at) & times["freed"].gt(at)).sum() for at in times["leased"])


def test_no_gpu_is_idle_while_jobs_wait_and_none_has_two(tmp_path: Path):
    jobs = [job(tmp_path, number, 0.3 + 0.2 * (number % 3)) for number in range(9)]
    assert run(tmp_path, jobs) == [0] * 9
    times = uses(tmp_path / "sweep")
    assert len(times) == 9 and set(times["device"]) == {0, 1, 2, 3}
    for _, own in times.groupby("device"):
        own = own.sort_values("leased")
        assert (own["leased"].to_numpy()[1:] >= own["freed"].to_numpy()[:-1]).all()
    # A GPU that is freed while jobs wait has the next one at once.
    last_start = times["leased"].max()
    for freed, device in times[["freed", "device"]].itertuples(index=False):
        if freed < last_start - 0.5:
            after = times[(times["device"] == device) & (times["leased"] >= freed)]["leased"].min()
            assert after - freed < 0.5
    assert most_at_once(times) == 4


def test_each_job_sees_its_own_gpus_and_no_rank_and_knows_its_share_of_the_node(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(24)), raising=False)
    jobs = [job(tmp_path, 0, 0.3, needs=2), job(tmp_path, 1, 0.3), job(tmp_path, 2, 0.3)]
    run(tmp_path, jobs)
    seen = [(tmp_path / str(number) / "output.log").read_text().split() for number in range(3)]
    assert seen == [["0,1", "None", "2", "12"], ["2", "None", "4", "6"], ["3", "None", "4", "6"]]


def test_a_job_that_needs_few_overtakes_one_that_must_wait_for_many(tmp_path: Path):
    jobs = [job(tmp_path, 0, 0.8, needs=3), job(tmp_path, 1, needs=None), job(tmp_path, 2)]
    assert run(tmp_path, jobs) == [0, 0, 0]
    started = uses(tmp_path / "sweep").groupby("job")["leased"].min()
    assert started[2] < started[1]


def test_a_failed_job_frees_its_gpu_and_does_not_stop_the_others(tmp_path: Path):
    statuses = run(tmp_path, [job(tmp_path, number, status=2 * (number == 1)) for number in range(6)], n_jobs=1)
    assert statuses == [0, 2, 0, 0, 0, 0]
    assert most_at_once(uses(tmp_path / "sweep")) == 1


def test_two_sweeps_on_a_node_do_not_double_a_gpu(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); from test_node import job, run\n"
        "folder = Path(sys.argv[2]); leases = folder.parent / 'leases'\n"
        "assert run(folder, [job(folder, n, 0.3) for n in range(6)], leases=leases) == [0] * 6"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    sweeps = [subprocess.Popen([*command, str(tmp_path / name)], env=environment) for name in ("a", "b")]
    assert [sweep.wait(60) for sweep in sweeps] == [0, 0]
    times = pd.concat([uses(tmp_path / name / "sweep").assign(sweep=name) for name in ("a", "b")])
    assert len(times) == 12
    for _, own in times.groupby("device"):
        own = own.sort_values("leased")
        assert (own["leased"].to_numpy()[1:] >= own["freed"].to_numpy()[:-1] - 0.05).all()


def test_a_sweep_that_is_terminated_ends_its_jobs(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); from test_node import job, run\n"
        "folder = Path(sys.argv[2]); run(folder, [job(folder, n, 60) for n in range(2)])"
    )
    sweep = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    logs = [tmp_path / str(number) / "output.log" for number in range(2)]
    deadline = time.monotonic() + 30
    while not all(log.is_file() and log.read_text() for log in logs):
        assert time.monotonic() < deadline and sweep.poll() is None
        time.sleep(0.05)
    sweep.send_signal(signal.SIGTERM)
    assert sweep.wait(30) == 143
    assert set(uses(tmp_path / "sweep")["job"]) == {0, 1}  # each was leased, and freed
    assert run(tmp_path, [job(tmp_path, 5, needs=4)]) == [0]  # all GPUs are free


def test_a_job_that_asks_for_more_than_there_is_stops_the_sweep_before_it_begins(tmp_path: Path):
    with pytest.raises(InputError, match=r"job 1 \(fold=1\) asks for 5 devices, and there are 4 here"):
        run(tmp_path, [job(tmp_path, 0), job(tmp_path, 1, needs=5)])
    assert not (tmp_path / "0").exists()
