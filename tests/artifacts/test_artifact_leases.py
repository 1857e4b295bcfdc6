import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activessf.artifacts import leases
from activessf.artifacts.leases import find, lease
from activessf.owners import Owner, from_token, new_owner

ELSEWHERE = Owner("0123456789ab", 1, 77, "deadbeef")  # a process of another machine


def nobody(held: leases.Held) -> None:
    raise AssertionError(f"waits for {held}")


def left_by(owner: Owner, path: Path) -> None:
    path.write_text(json.dumps({"owner": owner.token, "host": "node7"}))


def test_the_lease_is_there_while_it_is_held_and_gone_afterwards(tmp_path):
    path = tmp_path / ".x.lease"
    with lease(path, nobody) as owner:
        held = find(path)
        assert held is not None and held.owner == owner and owner.pid == os.getpid()
    assert find(path) is None and list(tmp_path.iterdir()) == []


HOLDER = """
import sys, time
from pathlib import Path
from activessf.artifacts.leases import lease
with lease(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_holder_of_this_machine_blocks_nobody(tmp_path, sign):
    path, told = tmp_path / ".x.lease", []
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    held = find(path)
    assert held is not None and held.owner is not None and held.owner.pid == holder.pid and not held.owner.is_dead
    threading.Timer(1.0, lambda: holder.send_signal(sign)).start()
    started = time.monotonic()
    with lease(path, told.append):
        assert 0.9 < time.monotonic() - started < 10
    holder.wait(timeout=10)
    assert [str(one) for one in told] == [f"process {holder.pid} on {held.host}"]


def test_a_holder_that_nobody_has_waited_for_counts_as_gone(tmp_path):
    # Killed and not yet waited for by its parent it is a zombie, which still has a number.
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "x")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    held = find(tmp_path / "x")
    assert held is not None and held.owner is not None
    os.kill(holder.pid, signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert held.owner.is_dead
    holder.wait(timeout=10)


def test_a_silent_holder_of_another_machine_counts_as_dead_after_a_while(tmp_path):
    path, told = tmp_path / ".x.lease", []
    left_by(ELSEWHERE, path)
    started = time.monotonic()
    with lease(path, told.append, silent=1.5) as owner:
        assert time.monotonic() - started >= 1.5
        held = find(path)
        assert held is not None and held.owner == owner
    assert [str(one) for one in told] == ["process 1 on node7"]


def test_a_holder_of_another_machine_that_gives_signs_of_life_is_waited_for(tmp_path):
    path = tmp_path / ".x.lease"
    left_by(ELSEWHERE, path)
    until = time.monotonic() + 4

    def live() -> None:
        while time.monotonic() < until:
            os.utime(path)
            time.sleep(0.1)
        path.unlink()

    alive = threading.Thread(target=live)
    alive.start()
    with lease(path, lambda held: None, silent=1.5):
        assert time.monotonic() >= until
    alive.join()


def test_time_in_which_nobody_could_give_a_sign_does_not_count_as_silence(tmp_path, monkeypatch):
    path, clock = tmp_path / ".x.lease", [0.0]
    left_by(ELSEWHERE, path)

    def sleep(seconds: float) -> None:
        clock[0] += 3600.0  # the machine slept, or the server was away
        looks.append(clock[0])

    looks: list[float] = []
    monkeypatch.setattr(leases.time, "sleep", sleep)
    monkeypatch.setattr(leases.time, "monotonic", lambda: clock[0])
    leases._wait(path, new_owner(), lambda held: None, silent=10.0)
    assert len(looks) >= 10 / (2 * leases._POLL_SECONDS)


def test_signs_of_life_are_given_while_the_lease_is_held(tmp_path):
    path = tmp_path / ".x.lease"
    with lease(path, nobody, beat=0.05):
        first = path.stat().st_mtime_ns
        time.sleep(0.5)
        assert path.stat().st_mtime_ns > first


def test_a_file_that_was_being_written_when_its_holder_died_is_waited_for_and_then_broken(tmp_path):
    path = tmp_path / ".x.lease"
    path.touch()
    with lease(path, lambda held: None, silent=1.0) as owner:
        held = find(path)
        assert held is not None and held.owner == owner


def test_breaking_spares_a_lease_that_someone_has_taken_since(tmp_path):
    path = tmp_path / ".x.lease"
    left_by(ELSEWHERE, path)
    stale = find(path)
    assert stale is not None
    path.unlink()
    with lease(path, nobody) as owner:
        leases._break(path, stale)
        held = find(path)
        assert held is not None and held.owner == owner


def test_whoever_has_lost_the_lease_leaves_that_of_the_next_alone(tmp_path):
    path = tmp_path / ".x.lease"
    with lease(path, nobody):
        left_by(ELSEWHERE, path)
    held = find(path)
    assert held is not None and held.owner == ELSEWHERE


CONTENDER = """
import sys, time
from pathlib import Path
from activessf.artifacts.leases import lease
number = Path(sys.argv[2])
for _ in range(5):
    with lease(Path(sys.argv[1]), lambda held: None):
        before = int(number.read_text())
        time.sleep(0.01)
        number.write_text(str(before + 1))
"""


def test_many_processes_hold_it_one_at_a_time(tmp_path):
    (tmp_path / "number").write_text("0")
    left_by(Owner(new_owner().place, 2**22 + 1, 5, "00000000"), tmp_path / ".x.lease")  # all find a dead holder first
    command = [sys.executable, "-c", CONTENDER, str(tmp_path / ".x.lease"), str(tmp_path / "number")]
    contenders = [subprocess.Popen(command) for _ in range(4)]
    assert [contender.wait(timeout=60) for contender in contenders] == [0] * 4
    assert (tmp_path / "number").read_text() == "20"


owners = st.builds(
    Owner,
    st.text("0123456789abcdef", min_size=12, max_size=12),
    st.integers(0, 2**22),
    st.integers(0, 2**60),
    st.text("0123456789abcdef", min_size=8, max_size=8),
)


@given(owners)
def test_a_token_names_its_owner(owner):
    assert from_token(owner.token) == owner and "/" not in owner.token


@given(st.text())
def test_other_texts_name_nobody(text):
    found = from_token(text)
    assert found is None or found.token == text


def test_a_number_that_another_process_has_got_since_is_not_taken_for_the_owner():
    own = new_owner()
    assert not own.is_dead
    assert Owner(own.place, own.pid, own.started + 1, own.nonce).is_dead
    assert not Owner("0" * 12, own.pid, own.started + 1, own.nonce).is_dead  # of another machine nobody knows
