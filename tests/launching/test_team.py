import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from activessf.launching.team import run_team

ROOT = Path(__file__).resolve().parents[2]
WAIT = "import time; time.sleep(60)"


def team(code: str, folder: Path, count: int = 2) -> int:
    return run_team([sys.executable, "-c", f"import os, sys\nrank = int(os.environ['RANK'])\n{code}"], count, folder)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")


def test_the_processes_meet_and_agree_on_what_the_first_decides(tmp_path: Path):
    code = (
        "from activessf.launching.meeting import agreed, meeting, waits\n"
        "from activessf.launching.ranks import own_rank\n"
        "with meeting():\n"
        "    told = [agreed(lambda: {'by': rank, 'n': n}) for n in range(3)]\n"
        "    assert waits() == (rank > 0) and own_rank().count == 3\n"
        "assert told == [{'by': 0, 'n': n} for n in range(3)], told\n"
        "assert not waits() and 'PL_GLOBAL_SEED' not in os.environ"
    )
    assert team(code, tmp_path, 3) == 0


def test_what_one_makes_all_have(tmp_path: Path):
    """The first makes what needs one, all have a part in what is made together, and what is there is not made again."""
    code = (
        f"from pathlib import Path; folder = Path({str(tmp_path)!r})\n"
        "from activessf.artifacts import artifact\n"
        "from activessf.launching.meeting import meeting\n"
        "import time\n"
        "def make(name):\n"
        "    def write(place):\n"
        "        time.sleep(0.3 * (rank == 0))\n"
        "        (place / 'by').write_text(str(rank)); (folder / f'{name}_{rank}').touch()\n"
        "    return write\n"
        "with meeting():\n"
        "    for _ in range(2):\n"
        "        one = artifact(folder, 's', 'one', {}, make('one')).obtain()\n"
        "        both = artifact(folder, 's', 'both', {}, make('both')).obtain_together()\n"
        "        assert (one / 'by').read_text() == (both / 'by').read_text() == '0'\n"
    )
    assert team(code, tmp_path) == 0, (tmp_path / "rank_1.log").read_text()
    assert sorted(path.name for path in tmp_path.glob("*_[01]")) == ["both_0", "both_1", "one_0"]
    assert not list((tmp_path / "s").glob(".*partial*"))


def test_a_failure_of_one_ends_the_others_and_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    began = time.monotonic()
    assert team(f"if rank == 1: sys.exit('no image')\n{WAIT}", tmp_path) == 1
    assert time.monotonic() - began < 20
    assert "process 1 of this training failed" in (shown := capfd.readouterr().err) and "no image" in shown


def test_of_two_failures_the_one_that_was_told_counts(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    assert team("print('error: a mistake.', file=sys.stderr)\nsys.exit(2)", tmp_path) == 2
    assert capfd.readouterr().err == "error: a mistake.\n"  # once


def test_a_killed_process_has_the_status_that_shells_give_it(tmp_path: Path):
    assert team(f"if rank == 1: os.kill(os.getpid(), 9)\n{WAIT}", tmp_path) == 137


def test_waiting_for_a_process_that_is_gone_is_an_error(tmp_path: Path):
    """Where nobody ends the others, as under srun, they end by themselves once the first has gone."""
    code = (
        "from activessf.launching.meeting import meeting, agreed\n"
        "with meeting():\n"
        "    if rank == 0: sys.exit(3)\n"
        "    agreed(lambda: 1)\n"
    )
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port(), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", f"import os, sys\nrank = {rank}\n{code}"], env=environment | {"RANK": str(rank)},
            stderr=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]  # fmt: skip
    assert processes[0].wait(60) == 3
    assert processes[1].wait(60) == 1


def test_sigterm_ends_all_processes(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from activessf.launching.team import run_team\n"
        f"folder = Path({str(tmp_path)!r})\n"
        'code = \'import os, time; open(os.environ["RANK"], "w").write(str(os.getpid())); time.sleep(60)\'\n'
        "sys.exit(run_team([sys.executable, '-c', code], 2, folder))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not all((tmp_path / rank).is_file() and (tmp_path / rank).read_text() for rank in "01"):
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(60) == 143
    for rank in "01":
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / rank).read_text()), 0)


def _free_port() -> str:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])
