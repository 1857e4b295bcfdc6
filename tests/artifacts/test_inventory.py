import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from activessf.artifacts import Artifact, artifact
from activessf.artifacts.__main__ import main
from activessf.artifacts.inventory import abandoned, take_inventory

LONG_AGO = 30 * 86400


def stage(output: Path, name: str, inputs: dict, *uses: Artifact, size: int = 10) -> Artifact:
    def make(folder: Path) -> None:
        for used in uses:
            used.obtain()
        (folder / "data.bin").write_bytes(b"x" * size)

    return artifact(output / "stages", name, "demo", inputs, make)


def run(output: Path, name: str, *uses: Artifact) -> None:
    def make(folder: Path) -> None:
        for used in uses:
            used.obtain()
        (folder / "run.json").write_text("{}")

    Artifact(output / "runs" / name / "fold_0", {}, make).obtain()


def aged(output: Path) -> None:
    for folder in (output / "stages").glob("*/*"):
        os.utime(folder, (time.time() - LONG_AGO,) * 2)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Two selections on the same regions; a run was made from the first alone, and from regions it names as input."""
    cells = stage(tmp_path, "cells", {"version": 1})
    regions = stage(tmp_path, "regions", {"version": 1}, size=1000)
    chosen = stage(tmp_path, "selection", {"alpha": 1, "folds": cells.obtain().name}, regions)
    other = stage(tmp_path, "selection", {"alpha": 2}, regions, size=500)
    other.obtain()
    stage(tmp_path, "regions", {"version": 0}).obtain()  # of an earlier version
    run(tmp_path, "mae", chosen)
    aged(tmp_path)
    return tmp_path


def needed(output: Path) -> dict[tuple[str, str], bool]:
    found = {}
    for entry in take_inventory(output).entries:
        inputs = json.loads((entry.folder / "inputs.json").read_text())
        found[entry.stage, str(inputs.get("alpha", inputs.get("version")))] = bool(entry.needed_by)
    return found


def test_a_result_is_needed_by_the_runs_that_were_made_from_it_directly_or_not(output):
    assert needed(output) == {
        ("cells", "1"): True,
        ("regions", "1"): True,
        ("regions", "0"): False,
        ("selection", "1"): True,
        ("selection", "2"): False,
    }


def test_the_list_tells_size_cost_last_use_and_who_needs_it(output, capsys):
    main(["list", "--outputs", str(output)])
    told = capsys.readouterr().out
    (line,) = [line for line in told.splitlines() if "selection/" in line and "mae/fold_0" in line]
    assert line.split()[1] == "B" and 0 < int(line.split()[0]) < 1000 and " 0 s " in line
    assert "No run needs 2 of 5" in told


def test_pruning_is_dry_unless_told_otherwise(output, capsys):
    main(["prune", "--outputs", str(output)])
    assert "Nothing was removed" in capsys.readouterr().out
    assert len(take_inventory(output).entries) == 5


def test_pruning_removes_what_no_run_needs_and_nothing_else(output):
    kept = {path for path in output.rglob("*") if path.is_file()}
    main(["prune", "--outputs", str(output), "--yes"])
    assert needed(output) == {("cells", "1"): True, ("regions", "1"): True, ("selection", "1"): True}
    left = {path for path in output.rglob("*") if path.is_file()}
    assert left < kept and all("runs" in path.parts or path.parent.is_dir() for path in left)


def test_what_was_used_lately_is_kept(output):
    (unneeded,) = [
        entry for entry in take_inventory(output).entries if entry.stage == "selection" and not entry.needed_by
    ]
    inputs = json.loads((unneeded.folder / "inputs.json").read_text())
    stage(output, "selection", inputs).obtain()  # asked for, not made
    main(["prune", "--outputs", str(output), "--yes"])
    assert unneeded.folder.is_dir()
    main(["prune", "--outputs", str(output), "--yes", "--days", "0"])
    assert not unneeded.folder.exists()


WORKER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_inventory import run, stage
from activessf.artifacts import Artifact
output = Path(sys.argv[1])
def make(folder):
    stage(output, "selection", {"alpha": 2}).obtain()
    print("works", flush=True)
    time.sleep(60)
Artifact(output / "runs" / "long" / "fold_0", {}, make).obtain()
"""


def test_what_a_run_under_way_uses_is_never_pruned_and_is_once_it_was_killed(output):
    command = [sys.executable, "-c", WORKER, str(output), str(Path(__file__).parent)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None and worker.stdout.readline() == "works\n"
    aged(output)
    main(["prune", "--outputs", str(output), "--yes", "--days", "0"])
    assert needed(output)["selection", "2"]
    worker.kill()
    worker.wait(timeout=10)
    assert len(abandoned(output, 0)) == 2  # the half-made run and its lease
    aged(output)
    main(["prune", "--outputs", str(output), "--yes", "--days", "0"])
    assert ("selection", "2") not in needed(output) and abandoned(output, 0) == []


def test_runs_that_do_not_tell_what_they_used_keep_what_is_as_old_as_they(output):
    folder = output / "runs" / "old" / "fold_0"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    assert take_inventory(output).prunable(0) == []
    os.utime(folder / "run.json", (time.time() - 2 * LONG_AGO,) * 2)
    assert len(take_inventory(output).prunable(0)) == 2


@pytest.mark.parametrize(
    "arguments", [["--outputs", "/nowhere"], ["prune", "--days", "-1"], ["prune", "--days", "nan"]]
)
def test_what_can_not_be_is_one_sentence(arguments, output, capsys):
    given = arguments if "--outputs" in arguments else [*arguments, "--outputs", str(output)]
    assert main(given) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
