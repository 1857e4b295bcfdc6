"""A sweep on a real Ray cluster of two nodes, both on this machine."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from activessf.errors import InputError
from activessf.launching.cluster import run_on_cluster
from activessf.launching.sweeps import Job

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (
    "import os, sys; print(os.environ['ACTIVESSF_PART_OF'], os.environ.get('RANK'), flush=True); "
    "sys.exit(int(sys.argv[1]))"
)


def job(folder: Path, number: int, status: int = 0, needs: int | None = 1) -> Job:
    command = [sys.executable, "-c", PROGRAM, str(status)]
    return Job(number, f"fold={number}", command, folder / str(number), needs, OmegaConf.create())


def test_without_ray_or_a_cluster_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"needs Ray; install it: pip install -e '\.\[ray\]'"):
        run_on_cluster([job(tmp_path, 0)], "cpu", "auto", 1)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of two nodes with one CPU each."""
    pytest.importorskip("ray")
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{server.getsockname()[1]}"
    environment = {
        **os.environ,
        "HOME": str(home),
        "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--node-ip-address=127.0.0.1"]
    ray += ["--num-cpus=1", "--num-gpus=0", "--object-store-memory=80000000"]
    head = ["--head", f"--port={address.partition(':')[2]}", "--include-dashboard=false", f"--temp-dir={home}/r"]
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for number, arguments in enumerate((head, [f"--address={address}"])):
            with (home / f"node_{number}.log").open("wb") as log:
                nodes.append(
                    subprocess.Popen([*ray, *arguments], env=environment, stdout=log, stderr=subprocess.STDOUT)
                )
            wait_for("Ray runtime started", home / f"node_{number}.log")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(home))
            patch.setenv("PYTHONPATH", str(ROOT))
            yield address
    finally:
        for node in reversed(nodes):  # `ray stop` would also stop what others run here
            node.terminate()
            node.wait(60)


def wait_for(text: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def test_jobs_run_on_the_nodes_of_a_cluster_and_a_failed_one_does_not_stop_the_others(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVESSF_COMMAND", "python train.py -m")
    monkeypatch.setenv("RANK", "3")
    statuses = run_on_cluster([job(tmp_path, number, 2 * (number == 1)) for number in range(4)], "cpu", address, 1)
    assert statuses == [0, 2, 0, 0]
    for number in range(4):
        assert (tmp_path / str(number) / "output.log").read_text() == "python train.py -m None\n"


def test_what_no_machine_has_is_refused_at_once(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"job 1 \(fold=1\) asks for 0 GPUs and 2 CPUs .* none of the cluster's 2 has"):
        run_on_cluster([job(tmp_path, 0), job(tmp_path, 1, needs=2)], "auto", address, 1)
    with pytest.raises(InputError, match=r"job 0 .* asks for all devices"):
        run_on_cluster([job(tmp_path, 0, needs=None)], "auto", address, 1)
