import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from activessf.errors import InputError
from activessf.regions.workers import in_order


def squared(limit: int, item: int) -> int:
    """The square; 7 kills its process, `limit` is a user's mistake."""
    if item == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == limit:
        raise InputError("too far")
    time.sleep(0.001 * (item % 3))
    return item * item


def fallback(item: int) -> int:
    return -item


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_process_that_dies_costs_its_item_alone(num_workers: int) -> None:
    results = list(in_order(partial(squared, 1000), range(40), num_workers, fallback))
    assert results == [-7 if item == 7 else item * item for item in range(40)]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_items_that_a_broken_pool_refuses_are_not_lost(num_workers: int) -> None:
    def items() -> Iterator[int]:
        yield from (7, 8)
        time.sleep(2)  # the pool has broken by then
        yield from range(9, 40)

    results = list(in_order(partial(squared, 1000), items(), num_workers, fallback))
    assert results == [-7, *(item * item for item in range(8, 40))]


def test_results_come_in_order_without_processes_too() -> None:
    assert list(in_order(partial(squared, 1000), iter([3, 1, 2]), 0, fallback)) == [9, 1, 4]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_mistake_ends_the_work(num_workers: int) -> None:
    with pytest.raises(InputError, match="too far"):
        list(in_order(partial(squared, 20), (item for item in range(8, 10_000)), num_workers, fallback))


def test_items_are_read_only_as_far_as_needed() -> None:
    read = []
    items = (read.append(item) or item for item in range(8, 100_000))
    results = in_order(partial(squared, -1), items, 2, fallback)
    assert next(results) == 64 and len(read) <= 17
    results.close()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, time\n"
        "from activessf.regions.workers import in_order\n"
        "def work(item):\n"
        "    open(sys.argv[1] + f'/{os.getpid()}', 'w').close()\n"
        "    time.sleep(0.2)\n"
        "if __name__ == '__main__':\n"
        "    list(in_order(work, range(1000), 2, print))\n"
    )
    (tmp_path / "pids").mkdir()
    parent = subprocess.Popen([sys.executable, script, tmp_path / "pids"])
    while len(list((tmp_path / "pids").iterdir())) < 2:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    workers = [int(path.name) for path in (tmp_path / "pids").iterdir()]
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
