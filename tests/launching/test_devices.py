import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activessf.launching.devices import Leases, Pool, gpu_names, lease_handles, node_pool, own_cores

GPUS = Pool("gpu", ("0", "1", "GPU-ab/../c"))
HOLD = "import sys; sys.stdin.read()"


def test_no_device_is_leased_twice_and_all_can_be(tmp_path: Path):
    one, other = Leases(GPUS, tmp_path), Leases(GPUS, tmp_path)  # of two sweeps
    first, second = one.take(1), other.take(2)
    assert first is not None and second is not None
    assert sorted(first.names + second.names) == sorted(GPUS.names)
    assert one.take(1) is None and other.take(1) is None
    first.let_go()
    assert other.take(2) is None  # only one is free, and it is free again after the attempt
    third = other.take(1)
    assert third is not None and third.names == first.names
    assert sorted(path.parent for path in tmp_path.iterdir()) == [tmp_path] * 3


def test_a_job_holds_its_devices_until_its_last_process_is_gone(tmp_path: Path):
    leases = Leases(Pool("gpu", ("0",)), tmp_path)
    lease = leases.take(1)
    assert lease is not None
    job = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, pass_fds=lease.handles)
    lease.let_go()  # as when the launcher is killed
    assert leases.take(1) is None
    job.kill()
    job.wait()
    again = leases.take(1)
    assert again is not None and again.names == ("0",)
    again.let_go()


def test_a_job_is_told_its_devices_and_what_it_holds_them_by(tmp_path: Path):
    lease = Leases(Pool("gpu", ("3", "5")), tmp_path).take(2)
    assert lease is not None
    told = lease.environment()
    assert told["CUDA_VISIBLE_DEVICES"] == "3,5" and told["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert lease_handles(told) == lease.handles and lease_handles({}) == ()
    lease.let_go()
    assert lease_handles(told) == ()


def test_a_share_of_the_machine_sees_no_gpu_and_has_its_threads(tmp_path: Path):
    lease = Leases(Pool("cpu", ("0", "1"), cores=3), tmp_path).take(1)
    assert lease is not None
    told = lease.environment()
    assert told["CUDA_VISIBLE_DEVICES"] == "" and told["OMP_NUM_THREADS"] == "3"
    assert own_cores(told) == 3
    lease.let_go()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("0,1", ("0", "1")),
        ("", ()),
        ("-1", ()),
        ("2, GPU-1a", ("2", "GPU-1a")),
        ("1,-1,0", ("1",)),
        ("NoDevFiles,", ("NoDevFiles",)),
    ],
)
def test_visible_gpus_are_read_as_cuda_reads_them(visible: str, expected: tuple[str, ...]):
    assert gpu_names({"CUDA_VISIBLE_DEVICES": visible}) == expected


def test_the_pool_is_the_gpus_or_shares_of_the_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)), raising=False)
    assert own_cores({}) == 12
    assert node_pool("auto", None, None) == Pool("gpu", ("4", "6"), 6)
    assert node_pool("gpu", [6], 3) == Pool("gpu", ("6",), 12)
    assert node_pool("cpu", None, None) == Pool("cpu", tuple(map(str, range(12))), 1)
    assert node_pool("cpu", [0], 3) == Pool("cpu", tuple("012"), 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert node_pool("auto", None, 24) == Pool("cpu", tuple(map(str, range(24))), 1)


@given(st.lists(st.integers(1, 4), max_size=12))
@settings(deadline=None)
def test_whatever_is_asked_for_no_two_have_the_same_device(tmp_path_factory: pytest.TempPathFactory, asked: list[int]):
    folder = tmp_path_factory.mktemp("leases")
    pool = Pool("gpu", tuple("01234"))
    leases = [lease for lease in (Leases(pool, folder).take(count) for count in asked) if lease is not None]
    names = [name for lease in leases for name in lease.names]
    assert len(names) == len(set(names))
    free = len(pool.names) - len(names)
    refused = len(asked) - len(leases)
    assert not refused or free < max(asked)
    for lease in leases:
        lease.let_go()
