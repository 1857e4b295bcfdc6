"""Selection and folds are the same for every number of loader processes and of threads."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_limits
from tiny import configure, on

from activessf import commands

TABLES = ("cells/*/cells.csv", "folds/*/folds.csv", "regions/*/regions.csv", "selection/*/selection.csv",
          "selection/*/prototypes.csv")  # fmt: skip


def selected(output: Path, demo: Path, workers: int, threads: int) -> dict[str, Path]:
    """The tables of stages 1 and 2, by their names below the stages' folder: keys of results are in them."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            commands.select(configure(output, *on(demo), "selection=activessf", f"num_workers={workers}", "fold=1"))
    finally:
        torch.set_num_threads(before)
    stages = output / "stages"
    return {path.relative_to(stages).as_posix(): path for pattern in TABLES for path in stages.glob(pattern)}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, demo: Path) -> dict[str, Path]:
    tables = selected(tmp_path_factory.mktemp("alone"), demo, workers=0, threads=1)
    assert len(tables) == len(TABLES)
    selection = pd.read_csv(next(path for name, path in tables.items() if name.endswith("selection.csv")))
    assert 0 < selection["selected"].sum() < len(selection)
    return tables


@pytest.mark.parametrize("workers", [1, 2])
def test_other_numbers_of_workers_give_the_same_bytes(workers, alone, demo, tmp_path):
    found = selected(tmp_path, demo, workers, threads=1)
    assert {name: path.read_bytes() for name, path in found.items()} == {
        name: path.read_bytes() for name, path in alone.items()
    }


def test_another_number_of_threads_selects_the_same_regions_in_the_same_folds(alone, demo, tmp_path):
    """Sums that threads share are rounded in another order; what follows from them is the same."""
    found = selected(tmp_path, demo, workers=0, threads=2)
    assert found.keys() == alone.keys()
    for name, path in found.items():
        pd.testing.assert_frame_equal(pd.read_csv(path), pd.read_csv(alone[name]), rtol=1e-4, atol=1e-6)
