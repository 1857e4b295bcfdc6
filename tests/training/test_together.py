"""Two processes that train together: as one would, stopped and resumed, and what each of them leaves."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from test_resuming import STEPS
from together_worker import WEIGHTS, calm, images_of, masked, train, unequal

from activessf.data.images import write_png
from activessf.errors import InputError
from activessf.launching.team import run_team

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two processes have done what together_worker says."""
    folder = tmp_path_factory.mktemp("together")
    rng = np.random.default_rng(0)
    for number in range(10):
        (folder / "images").mkdir(exist_ok=True)
        write_png(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), folder / "images" / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{Path(__file__).parent}")
        status = run_team([sys.executable, str(Path(__file__).parent / "together_worker.py"), str(folder)], 2, folder)
    assert status == 0, (folder / "rank_1.log").read_text()
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return [torch.load(folder / f"found_{rank}.pt") for rank in range(2)]


def difference(one, other):
    assert set(one) == set(other)
    return max((one[name].double() - other[name].double()).abs().max().item() for name in one)


@pytest.mark.parametrize("make", [masked, calm])
def test_two_processes_end_with_the_weights_of_one(make, found, folder, tmp_path):
    expected = train(make, images_of(folder / "images"), tmp_path / "alone").state_dict()
    untrained = make().state_dict()
    assert difference(untrained, expected) > 1e-2
    assert difference(found[0][make.__name__], expected) < 2e-5


def test_two_processes_draw_by_weight_and_weigh_cells_as_one(found, folder, tmp_path):
    images = images_of(folder / "images")
    expected = train(unequal, images.weighted(WEIGHTS), tmp_path / "alone").state_dict()
    assert difference(train(unequal, images, tmp_path / "natural").state_dict(), expected) > 5e-3
    assert difference(found[0]["unequal"], expected) < 2e-5


def test_accumulated_batches_of_two_processes_are_those_of_one(found, folder, tmp_path):
    alone = train(calm, images_of(folder / "images"), tmp_path / "alone", accumulate_grad_batches=2).state_dict()
    assert difference(found[0]["accumulated"], alone) < 2e-5


def test_both_processes_end_with_the_same_bits(found):
    for name in ("masked", "calm", "classifier", "accumulated", "masked_stopped", "classifier_stopped"):
        assert difference(found[0][name], found[1][name]) == 0, name


@pytest.mark.parametrize("name", ["masked", "classifier"])
def test_two_processes_that_were_stopped_twice_end_with_the_same_bits(found, name):
    for rank in range(2):
        assert difference(found[rank][f"{name}_stopped"], found[rank][name]) == 0


def test_only_the_first_process_keeps_checkpoints_and_logs(folder):
    kept = {f"{step:010d}{suffix}" for step in (STEPS - 2, STEPS - 1) for suffix in (".ckpt", ".csv")}
    for name in ("masked", "calm", "classifier"):
        assert {path.name for path in (folder / "rank_0" / f"checkpoints_{name}").iterdir()} == kept
    assert not list((folder / "rank_1").glob("checkpoints_*"))
    logged = pd.read_csv(folder / "rank_0" / "calm" / "history" / "metrics.csv")
    assert len(logged) == STEPS and not (folder / "rank_1" / "calm" / "history" / "metrics.csv").exists()


def test_the_loss_that_is_logged_is_that_of_the_whole_batch(folder, tmp_path):
    train(calm, images_of(folder / "images"), tmp_path / "alone")
    alone = pd.read_csv(tmp_path / "alone" / "history" / "metrics.csv")
    together = pd.read_csv(folder / "rank_0" / "calm" / "history" / "metrics.csv")
    np.testing.assert_allclose(together["train/loss"], alone["train/loss"], atol=2e-5)


def test_predictions_of_two_processes_are_those_of_one_in_the_same_order(found, folder):
    torch.manual_seed(1)
    module, images = calm().eval(), images_of(folder / "images")
    with torch.no_grad():
        expected = torch.softmax(module.network(torch.stack([images[0, row][0] for row in range(9)])).double(), dim=1)
    assert expected.std(dim=0).min() > 1e-4
    for rank in range(2):
        torch.testing.assert_close(found[rank]["probabilities"][""], expected, rtol=0, atol=1e-6)


def test_a_loss_that_is_no_number_in_one_process_stops_both_and_its_batch_is_kept_once(folder):
    errors = {(folder / f"rank_{rank}" / "error.txt").read_text().partition("That batch")[0] for rank in range(2)}
    assert len(errors) == 1 and "the loss is nan at optimiser step 3;" in errors.pop()
    (path,) = folder.glob("wrong.*/failed/*.safetensors")
    assert path.parent.parent.name == "wrong.1"
    with safe_open(path, "pt") as file:
        assert len(json.loads(file.metadata()["images"])) == len(file.get_tensor("views")) == 2  # its half of four


def test_a_batch_that_two_processes_cannot_share_is_a_sentence():
    from activessf.training.running import batch_at_a_time

    with pytest.raises(InputError, match=r"2 devices times trainer\.accumulate_grad_batches=3 does not divide .* 64"):
        batch_at_a_time(64, 3, 2)
