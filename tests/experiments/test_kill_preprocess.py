import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "kill_preprocess.py"

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill_preprocess", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def slides(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """The folder of twelve slides, and the tables of a run that nobody kills."""
    folder = tmp_path_factory.mktemp("made_up")
    script.write_slides(folder / "data", 12, seed=0)
    return folder / "data", script.undisturbed(folder / "data", folder / "undisturbed", 2)


def test_killed_runs_go_on_and_end_with_the_same_files(script, slides, tmp_path):
    root, expected = slides
    trial = script.Trial(script.light_command, root, 12, expected, 2, counted=True)
    tally = script.kill_all(trial, tmp_path, kills=3, seed=1)
    assert tally.findings == []
    assert tally.num_kills == 3 and tally.runs >= 1
    assert 0 <= tally.repeated <= 2 * 3
    assert {"slides.csv", "failures.csv", "regions.csv", "rejected.csv"} < expected.keys()
    assert expected["failures.csv"].count(b"\n") == 3 and len(expected) > 10


def test_a_changed_table_a_leftover_and_a_slide_searched_too_often_are_found(script, slides, tmp_path):
    root, expected = slides
    output = tmp_path / "output"
    assert script.undisturbed(root, output, 0) == expected
    (table,) = output.glob("stages/regions/[!.]*/regions.csv")
    table.write_text(table.read_text().replace("1", "2"))
    (output / "stages" / "regions" / ".left").mkdir()
    with (output / "searches").open("a") as file:
        file.write("...")
    tally = script.Tally()
    script.Trial(script.light_command, root, 12, expected, 2, counted=True)._check(output, 1, tally)
    assert [finding.partition(": ")[2] for finding in tally.findings] == [
        "after 1 kills these files differ: ['regions.csv']",
        "after 1 kills there is left ['.left']",
        "3 slides were searched again after 1 kills",
    ]


def test_a_process_that_outlives_its_parent_is_found(script):
    code = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); input()"
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert script.outliving(parent.pid, 0.0) == [child]
    os.kill(child, signal.SIGKILL)
    assert script.outliving(parent.pid, 10) == []
    parent.communicate()


def test_the_named_semaphores_of_a_process_are_found(script):
    lock = multiprocessing.get_context("spawn").Lock()
    name = Path("/dev/shm") / f"sem.{lock._semlock.name.lstrip('/')}"
    assert name.exists() and name in script.named_semaphores(os.getpid())


def test_phases_are_told_by_what_stands_in_the_folder(script, tmp_path):
    def phase() -> str:
        return script.progress(tmp_path, 2).phase

    assert phase() == "starting"
    partial = tmp_path / "stages" / "regions" / ".light-1.partial-x"
    (partial / "crops").mkdir(parents=True)
    assert phase() == "searching"
    for key in ("ab1", "cd2"):
        folder = tmp_path / "stages" / "slides_searched" / "settings" / key[:2] / key
        folder.mkdir(parents=True)
        (folder / "slide.json").touch()
    (folder.parent / ".ef3.x").mkdir()
    (partial / "crops" / "a_0000.png").touch()
    assert script.progress(tmp_path, 2) == script.Progress(2, 1, "writing tables")
    (partial / "summary.json").touch()
    assert phase() == "publishing"


def test_slides_are_the_same_for_the_same_seed_and_no_two_alike(script, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        script.write_slides(tmp_path / name, 5, seed)
    a, b, c = (
        [path.read_bytes() for path in sorted((tmp_path / name / "slides").iterdir())] for name in ("a", "b", "c")
    )
    assert a == b and a != c
    assert len(set(a)) == len(a) == 7
    assert not np.array_equal(a[0], a[1])
