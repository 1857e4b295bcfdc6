import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activessf.artifacts import Artifact, artifact, files_fingerprint, fingerprint, readable, results
from activessf.artifacts.leases import lease
from activessf.artifacts.results import lease_of

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, min_size=2, max_size=5))
def test_fingerprint_does_not_depend_on_the_order_of_keys(value):
    assert fingerprint(value) == fingerprint(dict(reversed(list(value.items()))))


def test_fingerprint_is_the_same_on_every_machine():
    # sha256 of '{"a":1,"b":[true,null]}', first 16 digits, by sha256sum.
    assert fingerprint({"b": [True, None], "a": 1}) == "1cc69c7fa23616ca"


def test_files_fingerprint_sees_a_changed_file(tmp_path):
    (tmp_path / "a.png").write_bytes(b"one")
    before = files_fingerprint(tmp_path, ["a.png"])
    assert files_fingerprint(tmp_path, ["a.png"]) == before
    (tmp_path / "a.png").write_bytes(b"three")
    assert files_fingerprint(tmp_path, ["a.png"]) != before


@given(st.text())
def test_readable_names_are_safe_in_paths(text):
    name = readable(text)
    assert name and "/" not in name and not name.startswith(".")


def test_a_result_is_made_once_and_found_again(tmp_path):
    calls = []

    def make(folder: Path) -> None:
        calls.append(folder)
        (folder / "x.txt").write_text("done")

    first = artifact(tmp_path, "stage", "label", {"a": 1}, make).obtain()
    again = artifact(tmp_path, "stage", "label", {"a": 1}, make).obtain()
    other = artifact(tmp_path, "stage", "label", {"a": 2}, make).obtain()
    assert first == again != other and len(calls) == 2
    assert (first / "x.txt").read_text() == "done"
    assert json.loads((first / "inputs.json").read_text()) == {"a": 1}


def test_a_failed_stage_publishes_nothing(tmp_path):
    def make(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise RuntimeError("broke")

    wanted = artifact(tmp_path, "stage", "label", {"a": 1}, make)
    with pytest.raises(RuntimeError, match="broke"):
        wanted.obtain()
    assert not wanted.ready
    assert list((tmp_path / "stage").iterdir()) == []


def test_leftovers_of_a_killed_process_are_cleared(tmp_path):
    wanted = artifact(tmp_path, "stage", "label", {"a": 1}, lambda folder: (folder / "x").touch())
    leftover = wanted.folder.parent / f".{wanted.folder.name}.partial-dead"
    leftover.mkdir(parents=True)
    wanted.obtain()
    assert not leftover.exists()


_WORKER = """
import sys, time
from pathlib import Path
from activessf.artifacts import artifact
def make(folder):
    with open(sys.argv[2], "a") as made:
        made.write("made\\n")
    time.sleep(0.5)
    (folder / "x").touch()
artifact(Path(sys.argv[1]), "stage", "label", {"a": 1}, make).obtain()
"""


def test_of_two_processes_one_works_and_the_other_waits(tmp_path):
    command = [sys.executable, "-c", _WORKER, str(tmp_path), str(tmp_path / "made.txt")]
    started = time.monotonic()
    workers = [subprocess.Popen(command) for _ in range(2)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    assert time.monotonic() - started >= 0.5
    assert (tmp_path / "made.txt").read_text() == "made\n"


def test_a_result_notes_what_it_cost_without_what_it_was_made_from(tmp_path, monkeypatch):
    clock = [0.0]

    class Time:
        monotonic = staticmethod(lambda: clock[0])

    monkeypatch.setattr(results, "time", Time)

    def make_regions(folder: Path) -> None:
        clock[0] += 7

    def make_selection(folder: Path) -> None:
        clock[0] += 5
        regions.obtain()
        regions.obtain()
        clock[0] += 2

    regions = artifact(tmp_path, "regions", "demo", {"a": 1}, make_regions)
    selection = artifact(tmp_path, "selection", "demo", {"b": 1}, make_selection)
    made = json.loads((selection.obtain() / "made.json").read_text())
    assert made["seconds"] == 7 and made["used"] == [f"regions/{regions.name}"]
    of_regions = json.loads((regions.folder / "made.json").read_text())
    assert of_regions["seconds"] == 7 and of_regions["used"] == []


def test_whoever_lost_the_lease_takes_the_result_that_was_published_meanwhile(tmp_path):
    def slow(folder: Path) -> None:
        (folder / "x.txt").write_text("late")
        results.lease_of(wanted.folder).unlink()  # another machine took this one for dead ...
        Artifact(wanted.folder, {}, lambda faster: (faster / "x.txt").write_text("first")).obtain()

    wanted = artifact(tmp_path, "stage", "label", {"a": 1}, slow)
    assert (wanted.obtain() / "x.txt").read_text() == "first"
    assert [path.name for path in (tmp_path / "stage").iterdir()] == [wanted.name]


_KILLED = """
import os, signal, sys
from pathlib import Path
from activessf.artifacts import artifact
def make(folder):
    (folder / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
artifact(Path(sys.argv[1]), "stage", "label", {"a": 1}, make).obtain()
"""


def test_what_a_killed_process_has_begun_is_begun_anew_at_once(tmp_path):
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False)
    assert len(list((tmp_path / "stage").glob(".*.partial-*"))) == 1
    wanted = artifact(tmp_path, "stage", "label", {"a": 1}, lambda folder: (folder / "whole").touch())
    started = time.monotonic()
    assert (wanted.obtain() / "whole").exists() and not (wanted.folder / "half").exists()
    assert time.monotonic() - started < 5
    assert [path.name for path in (tmp_path / "stage").iterdir()] == [wanted.name]


def test_what_another_machine_has_begun_is_left_alone(tmp_path):
    wanted = artifact(tmp_path, "stage", "label", {"a": 1}, lambda folder: (folder / "x").touch())
    theirs = wanted.folder.parent / f".{wanted.name}.partial-0123456789ab-1-77-deadbeef"
    theirs.mkdir(parents=True)
    wanted.obtain()
    assert theirs.is_dir()


_KILLED_WHEN_PUBLISHED = """
import os, signal, sys
from pathlib import Path
from activessf.artifacts import artifact
publish = os.rename
def publish_and_die(*paths):
    publish(*paths)
    os.kill(os.getpid(), signal.SIGKILL)
os.rename = publish_and_die
artifact(Path(sys.argv[1]), "stage", "label", {"a": 1}, lambda folder: None).obtain()
"""


def test_the_lease_of_a_process_that_was_killed_when_it_had_published_goes_with_the_next_use(tmp_path):
    subprocess.run([sys.executable, "-c", _KILLED_WHEN_PUBLISHED, str(tmp_path)], check=False)
    wanted = artifact(tmp_path, "stage", "label", {"a": 1}, lambda folder: None)
    assert sorted(path.name for path in (tmp_path / "stage").iterdir()) == [f".{wanted.name}.lease", wanted.name]
    wanted.obtain()
    assert [path.name for path in (tmp_path / "stage").iterdir()] == [wanted.name]


def test_the_lease_of_a_living_process_stays_when_its_result_is_used(tmp_path):
    wanted = artifact(tmp_path, "stage", "label", {"a": 1}, lambda folder: None)
    with lease(lease_of(wanted.obtain()), print):
        wanted.obtain()
        assert lease_of(wanted.folder).exists()
