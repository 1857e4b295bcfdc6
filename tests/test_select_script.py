"""select.py is a script when run and must never get in the way of the standard module of that name."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

shadowable = pytest.mark.skipif(
    "select" in sys.builtin_module_names,
    reason="this Python has select built in, so no file can hide it and a pass would prove nothing",
)


def python(*arguments: str, cwd: Path = ROOT, path: str = "") -> str:
    """Run Python and give what it printed; from the root the repository comes before the standard library."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HYDRA"))}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**environment, "PYTHONPATH": path} if path else environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The select.py of another checkout."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copy(ROOT / "select.py", folder)
    return folder


@shadowable
def test_the_standard_library_gets_its_own_module_in_the_root() -> None:
    code = (
        "import select, selectors, subprocess, asyncio, importlib, sys\n"
        "assert 'lib-dynload' in select.__file__ or not select.__file__.endswith('.py'), select.__file__\n"
        "assert select.select([], [], [], 0) == ([], [], [])\n"
        "subprocess.run([sys.executable, '-c', 'import select; select.select'], check=True)\n"
        "asyncio.run(asyncio.sleep(0))\n"
        "again = importlib.reload(select)\n"
        "assert again is sys.modules['select'] and again.select([], [], [], 0) == ([], [], [])\n"
        "assert not hasattr(again, 'main') and 'hydra' not in sys.modules\n"
        "print('fine')"
    )
    assert python("-c", code) == "fine\n"


@shadowable
def test_the_select_of_another_checkout_is_not_taken_for_the_real_one(copy: Path) -> None:
    code = "import select; print(select.__file__); select.select([], [], [], 0)"
    (real,) = {python("-c", code, cwd=cwd, path=path) for cwd, path in ((ROOT, str(copy)), (copy, str(ROOT)))}
    assert Path(real.strip()).suffix != ".py"


@shadowable
def test_a_python_without_the_extension_is_told_who_hides_what(copy: Path) -> None:
    code = (
        "import sys; sys.modules.pop('select', None); sys.path[:] = ['']\n"
        "try:\n"
        "    import select\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error.name, 'hides' in str(error))"
    )
    assert (
        python("-S", "-c", "import importlib.machinery, importlib.util, os, stat\n" + code, cwd=copy) == "select True\n"
    )


@pytest.mark.slow
def test_tools_run_from_the_root(tmp_path: Path) -> None:
    assert python("-m", "pytest", "--version") == f"pytest {pytest.__version__}\n"
    python("-m", "venv", str(tmp_path / "environment"))  # with pip, as the Makefile makes it
    assert (tmp_path / "environment" / "bin" / "pip").exists()


@pytest.mark.slow
def test_a_sweep_of_the_script_selects_for_every_job(tmp_path: Path) -> None:
    told = python(
        "select.py", "selection.alpha=0,1", "-m", "recipe=quick", "recipe.feature_image_size=32", "num_workers=1",
        "data.num_labeled_slides=15", "data.num_unlabeled_slides=0", "data.slides_per_patient=1",
        f"paths.output_dir={tmp_path}",
    )  # fmt: skip
    assert told.count("The result is in") == 2
    kept = [path.read_text().count(",1\n") for path in (tmp_path / "stages" / "selection").glob("*/selection.csv")]
    assert len(kept) == 2 and min(kept) > 0 and kept[0] != kept[1]


@pytest.mark.slow
def test_loader_workers_start_in_the_root_by_fork_and_by_spawn() -> None:
    code = (
        "import torch\n"
        "from torch.utils.data import DataLoader, TensorDataset\n"
        "cells = TensorDataset(torch.arange(6))\n"
        "for method in ('fork', 'spawn'):\n"
        "    loader = DataLoader(cells, batch_size=3, num_workers=1, multiprocessing_context=method)\n"
        "    print(method, [int(batch.sum()) for (batch,) in loader])"
    )
    assert python("-c", code) == "fork [3, 12]\nspawn [3, 12]\n"


def test_run_from_anywhere_and_through_a_link_it_is_a_script(tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(ROOT, target_is_directory=True)
    script = str(tmp_path / "linked" / "select.py")
    assert "ssl_method" in python(script, "--help", cwd=tmp_path)
    shown = python(script, "--cfg", "job", "ssl=mae", "fold=3", "--package", "fold", cwd=tmp_path)
    assert "index: 3" in shown


def test_run_as_a_module_it_is_a_script_too() -> None:
    assert "ssl_method" in python("-m", "select", "--help")


def test_loaded_by_a_spawned_worker_it_defines_main_and_runs_nothing() -> None:
    loaded = runpy.run_path(str(ROOT / "select.py"), run_name="__mp_main__")
    assert callable(loaded["main"])
