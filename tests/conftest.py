import os
from pathlib import Path

import pytest

from activessf.data.demo import write_demo

# No test may wait for a hub or leave runs on someone's account.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture
def bccd() -> Path:
    return _public_data("bccd")


@pytest.fixture
def chula() -> Path:
    return _public_data("chula_rbc12")


@pytest.fixture
def golden() -> Path:
    """Figures that the methods' published code gave."""
    folder = SHARED_DATA.parent / "golden"
    if not folder.is_dir():
        pytest.skip("the golden figures are not in ../shared/golden")
    return folder


def _public_data(name: str) -> Path:
    folder = SHARED_DATA / name
    if not folder.is_dir():
        pytest.skip(f"the public data set {name} is not in ../shared/data")
    return folder


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo in the manifest layout, drawn once."""
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder, num_labeled_slides=15, num_unlabeled_slides=3, slides_per_patient=1, seed=0, progress=False)
    return folder


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results that tests share."""
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="session")
def run(demo: Path, outputs: Path) -> Path:
    """The run folder of the whole pipeline, in `outputs`."""
    from tiny import configure, on  # bring torch, which few tests need

    from activessf import commands

    return commands.train(configure(outputs, *on(demo), "ssl=mae", "selection=activessf", "fold=0"))
