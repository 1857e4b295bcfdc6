import os
from pathlib import Path

import pytest

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
