"""Two sweeps of train.py, started at once in the same folder."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from tiny import TINY, on

COUNTED = Path(__file__).with_name("counted.py")


@pytest.mark.slow
def test_two_sweeps_at_once_do_each_piece_of_work_once(demo: Path, tmp_path: Path) -> None:
    output, noted = tmp_path / "outputs", tmp_path / "counted.txt"
    # Both runs share cells, folds and regions.
    settings = [*TINY, *on(demo), f"paths.output_dir={output}", "ssl=mae", "selection=crf", "fold=0,1", "-m"]
    environment = {**os.environ, "PYTHONPATH": str(COUNTED.parents[2]), "COUNTED": str(noted)}
    sweeps = [
        subprocess.Popen(
            [sys.executable, str(COUNTED), *settings], env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        said = [sweep.communicate(timeout=600)[0] for sweep in sweeps]
    finally:
        for sweep in sweeps:
            sweep.terminate()  # if it has not ended
            sweep.wait()
    assert [sweep.returncode for sweep in sweeps] == [0, 0], said
    made = Counter(line.split()[0] for line in noted.read_text().splitlines())
    there = {f"{path.parent.parent.name}/{path.parent.name}" for path in output.glob("*/*/*/made.json")}
    assert set(made) == there and set(made.values()) == {1}, made
    assert Counter(name.split("/")[0] for name in made if "fold_" in name).total() == 2
    assert any("waiting for it" in text for text in said)  # they have met
    assert all("2 jobs: 2 finished, 0 failed, 0 missing." in text for text in said)
    assert not list(output.glob("*/*/.*"))  # no lease and nothing unfinished is left
    for run in output.glob("runs/*/fold_*"):
        assert len(pd.read_csv(run / "predictions.csv"))
