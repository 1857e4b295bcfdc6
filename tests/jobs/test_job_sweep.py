import json
import os
import time
from pathlib import Path

from activessf.jobs.sweep import exit_status, read_sweep, summary
from activessf.owners import Owner, new_owner

DEAD = Owner(new_owner().place, 2**22 + 1, 5, "00000000").token


def sweep_with(folder: Path, jobs: int, **states: dict) -> Path:
    """`job_3={"state": "failed"}` and so on; the others have not begun."""
    overrides = [["ssl=mae", f"fold='{number}'"] for number in range(jobs)]
    (folder / "sweep.json").write_text(json.dumps({"command": "python train.py -m", "jobs": overrides}))
    for name, said in states.items():
        number = int(name.removeprefix("job_"))
        (folder / str(number)).mkdir()
        about = {"job": number, "overrides": overrides[number], "owner": new_owner().token, **said}
        (folder / str(number) / "status.json").write_text(json.dumps(about))
    return folder


def test_the_summary_tells_finished_failed_and_missing_jobs(tmp_path):
    folder = sweep_with(
        tmp_path, 6,
        job_0={"state": "finished"},
        job_1={"state": "failed", "error": "Traceback\n" * 30 + "KeyError: 'x'", "log": ["last line of the log"]},
        job_2={"state": "stopped"},
        job_3={"state": "running", "owner": DEAD},
        job_4={"state": "finished"},
    )  # fmt: skip
    lines = summary(read_sweep(folder)).splitlines()
    assert lines[0] == "6 jobs: 2 finished, 2 failed, 2 missing."
    assert "  failed   1 ssl=mae fold='1'" in lines and f"           {folder / '1'}" in lines
    assert "           | last line of the log" in lines and "           | KeyError: 'x'" in lines
    assert "  failed   3 ssl=mae fold='3'" in lines and any("killed, or out of memory" in line for line in lines)
    assert [line.split()[1] for line in lines if line.startswith("  missing")] == ["2", "5"]
    assert len(lines) < 30


def test_a_sweep_without_a_fault_is_one_line(tmp_path):
    folder = sweep_with(tmp_path, 2, job_0={"state": "finished"}, job_1={"state": "finished"})
    assert summary(read_sweep(folder)) == "2 jobs: 2 finished, 0 failed, 0 missing."
    assert exit_status(read_sweep(folder), 2) == 0


def test_the_exit_status_is_that_of_a_mistake_only_if_all_that_failed_were_mistakes(tmp_path):
    mistaken, broken = {"state": "failed", "mistake": True}, {"state": "failed", "mistake": False}
    for name, jobs, expected in (
        ("a", {"job_0": mistaken, "job_1": {"state": "finished"}}, 2),
        ("b", {"job_0": mistaken, "job_1": broken}, 1),
        ("c", {"job_0": {"state": "running", "owner": DEAD}}, 1),
    ):
        (tmp_path / name).mkdir()
        assert exit_status(read_sweep(sweep_with(tmp_path / name, 3, **jobs)), 2) == expected


def test_many_failures_are_counted_rather_than_listed(tmp_path):
    jobs = {f"job_{number}": {"state": "failed", "error": "x"} for number in range(50)}
    lines = summary(read_sweep(sweep_with(tmp_path, 50, **jobs))).splitlines()
    assert "  ... and 30 more failed" in lines and len(lines) < 100


def test_a_single_job_is_a_sweep_of_one(tmp_path):
    (tmp_path / "status.json").write_text(json.dumps({"state": "finished", "job": None, "overrides": []}))
    sweep = read_sweep(tmp_path)
    assert sweep.jobs is None and sweep.missing == [] and len(sweep.of_state("finished")) == 1


def test_what_an_earlier_sweep_has_left_in_the_folder_does_not_count(tmp_path):
    sweep_with(tmp_path, 2, job_0={"state": "failed"}, job_1={"state": "failed"})
    for number, age in ((0, 100), (1, 0)):
        os.utime(tmp_path / str(number) / "status.json", (time.time() - age,) * 2)
    os.utime(tmp_path / "sweep.json", (time.time() - 50,) * 2)
    sweep = read_sweep(tmp_path)
    assert [record.number for record in sweep.failed] == [1] and sweep.missing == ["0 ssl=mae fold='0'"]


def test_a_job_that_was_started_as_a_run_of_its_own_is_known_by_its_overrides(tmp_path):
    sweep_with(tmp_path, 2, job_1={"state": "failed", "job": None})
    sweep = read_sweep(tmp_path)
    assert [record.number for record in sweep.failed] == [1] and sweep.missing == ["0 ssl=mae fold='0'"]
