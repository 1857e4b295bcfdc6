import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from activessf.jobs.heartbeat import Heartbeat, tail
from activessf.jobs.progress import doing, tell_step
from activessf.jobs.record import read_record, read_records
from activessf.owners import Owner


def said(folder: Path) -> dict:
    return json.loads((folder / "status.json").read_text())


def test_a_job_says_where_it_is_every_few_seconds_and_how_it_ended(tmp_path):
    heartbeat = Heartbeat(tmp_path, 3, ["ssl=mae", "fold='1'"], tmp_path / "train.log", seconds=0.05)
    heartbeat.start()
    try:
        first = said(tmp_path)
        assert first["state"] == "running" and first["job"] == 3 and first["pid"] == os.getpid()
        with doing("pretraining/x"):
            tell_step("Pretraining", 1, 20, 200, float("nan"))  # JSON has no NaN
            until = time.monotonic() + 10
            while said(tmp_path)["step"] != 20 and time.monotonic() < until:
                time.sleep(0.02)
            there = said(tmp_path)
            assert (there["doing"], there["activity"], there["total"], there["loss"]) == (
                "pretraining/x", "Pretraining", 200, None
            )  # fmt: skip
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**30
        assert there["memory_gib"] == pytest.approx(resident, rel=0.2)
        record = read_record(tmp_path)
        assert record is not None and record.state == "running" and record.title == "3 ssl=mae fold='1'"
    finally:
        heartbeat.end(result="here")
    ended = said(tmp_path)
    assert ended["state"] == "finished" and ended["result"] == "here" and "log" not in ended
    time.sleep(0.2)
    assert said(tmp_path) == ended  # it is silent now


def test_a_failure_keeps_the_error_and_the_logs_last_lines(tmp_path):
    (tmp_path / "train.log").write_text("".join(f"line {number}\n" for number in range(30)))
    heartbeat = Heartbeat(tmp_path, None, [], tmp_path / "train.log")
    heartbeat.start()
    heartbeat.end("failed", error="KeyError: 'x'")
    record = read_record(tmp_path)
    assert record is not None and record.error == "KeyError: 'x'" and record.number is None
    assert record.said["log"] == [f"line {number}" for number in range(20, 30)]


def test_the_tail_of_a_long_file_is_read_from_its_end(tmp_path):
    path = tmp_path / "long.log"
    path.write_bytes(b"x" * 1_000_000 + "\nvorletzte Zeile: \u00e4\nlast\n".encode())
    assert tail(path, 2) == ["vorletzte Zeile: \u00e4", "last"]
    assert tail(tmp_path / "none", 2) == []


RUNNING = """
import sys, time
from pathlib import Path
from activessf.jobs.heartbeat import Heartbeat
Heartbeat(Path(sys.argv[1]), 0, [], Path("none")).start()
print("runs", flush=True)
time.sleep(60)
"""


def test_a_job_that_was_killed_is_known_to_be_dead(tmp_path):
    job = subprocess.Popen([sys.executable, "-c", RUNNING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None and job.stdout.readline() == "runs\n"
    record = read_record(tmp_path)
    assert record is not None and record.state == "running" and record.error == ""
    job.kill()
    job.wait(timeout=10)
    assert record.state == "dead" and "out of memory" in record.error


def test_a_job_of_another_machine_is_silent_once_it_has_said_nothing_for_minutes(tmp_path):
    owner = Owner("0123456789ab", 1, 77, "deadbeef").token
    path = tmp_path / "status.json"
    path.write_text(json.dumps({"state": "running", "job": 0, "overrides": [], "owner": owner}))
    states = []
    for age in (0, 100, 1000):
        os.utime(path, (time.time() - age,) * 2)
        record = read_record(tmp_path)
        assert record is not None
        states.append(record.state)
    assert states == ["running", "running", "silent"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"job": "x", "overrides": []}', '{"job": 1, "overrides": 5}'])
def test_a_status_that_can_not_be_read_is_left_out(tmp_path, text):
    (tmp_path / "status.json").write_text(text)
    assert read_record(tmp_path) is None and read_records(tmp_path) == []
