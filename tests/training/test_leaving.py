"""Trainings that get real signals: what they save, how they leave, and that they go on to the same bits."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from leaving_worker import STOPPED_IN, Told, train
from pytorch_lightning import Callback
from test_resuming import STEPS, Stopped

from activessf.data.images import write_png
from activessf.launching.team import run_team

HERE = Path(__file__).parent
PATH = f"{HERE.parents[1]}{os.pathsep}{HERE}"
WORKER = [sys.executable, str(HERE / "leaving_worker.py")]
SIGNALS = [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaving")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(10):
        write_png(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), folder / "images" / f"{number}.png")
    train(folder / "whole", [])
    return folder


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("*"))


def assert_as_if_nothing_had_happened(folder: Path, whole: Path) -> None:
    weights, expected = (torch.load(place / "rank_0" / "weights.pt") for place in (folder, whole))
    assert weights.keys() == expected.keys() and all(torch.equal(weights[name], expected[name]) for name in weights)
    logs = [pd.read_csv(place / "rank_0" / "history" / "metrics.csv")["train/loss"] for place in (folder, whole)]
    assert len(logs[0]) == STEPS
    pd.testing.assert_series_equal(*logs)


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_training_that_is_told_to_go_ends_its_step_saves_and_goes_on_to_the_same_bits(number, status, folder):
    place, before = folder / f"one_{number}", signal.getsignal(number)
    with pytest.raises(SystemExit) as ending:
        train(place, [Told(number, whole_group=False)])
    assert ending.value.code == status and signal.getsignal(number) == before
    assert kept(place) == [f"{STOPPED_IN:010d}.ckpt", f"{STOPPED_IN:010d}.csv"]
    train(place, [])
    assert_as_if_nothing_had_happened(place, folder / "whole")


def test_in_the_middle_of_accumulated_gradients_it_ends_the_step_first(folder):
    accumulated = {"accumulate_grad_batches": 2}
    train(folder / "whole_accumulated", [], **accumulated)
    place = folder / "accumulated"
    with pytest.raises(SystemExit):
        train(place, [Told(signal.SIGTERM, whole_group=False)], **accumulated)
    assert kept(place)[0] == f"{STOPPED_IN:010d}.ckpt"
    train(place, [], **accumulated)
    assert_as_if_nothing_had_happened(place, folder / "whole_accumulated")


def test_checkpoints_that_are_due_by_time_wait_for_the_end_of_a_step_too(folder, monkeypatch):
    """A batch whose gradients wait for others is no place to go on from."""
    accumulated = {"accumulate_grad_batches": 2}
    train(folder / "whole_by_time", [], **accumulated)
    place, clock = folder / "by_time", iter(range(100_000))
    monkeypatch.setattr("activessf.training.resuming.time.monotonic", lambda: next(clock) * 60.0)

    class StopAfterTwo(Callback):
        def on_train_batch_start(self, *_: object) -> None:
            if len(kept(place)) == 4:  # two, with what was logged
                raise Stopped

    with pytest.raises(Stopped):
        train(place, [StopAfterTwo()], minutes=3.0, **accumulated)
    train(place, [], minutes=3.0, **accumulated)
    assert_as_if_nothing_had_happened(place, folder / "whole_by_time")


def test_without_checkpoints_it_leaves_at_the_end_of_its_step_all_the_same(folder):
    with pytest.raises(SystemExit) as ending:
        train(folder / "none", [Told(signal.SIGTERM, whole_group=False)], minutes=float("inf"))
    assert ending.value.code == 143 and not kept(folder / "none")


def test_where_a_signal_is_outlived_by_choice_it_saves_and_goes_on(folder):
    """As under submitit, which passes over SIGTERM and answers SIGUSR2 by putting its job into the queue again."""
    passed_over = []
    handlers = {signal.SIGTERM: lambda *_: passed_over.append("SIGTERM"), signal.SIGUSR2: lambda *_: sys.exit(7)}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        train(folder / "outlived", [Told(signal.SIGTERM, whole_group=False)])
        assert passed_over == ["SIGTERM"]
        with pytest.raises(SystemExit) as ending:
            train(folder / "requeued", [Told(signal.SIGUSR2, whole_group=False)])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert ending.value.code == 7 and kept(folder / "requeued")[0] == f"{STOPPED_IN:010d}.ckpt"
    assert_as_if_nothing_had_happened(folder / "outlived", folder / "whole")


def test_a_signal_to_the_loaders_workers_too_does_not_keep_it_from_saving(folder):
    place = folder / "group"
    environment = {**os.environ, "PYTHONPATH": PATH, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [*WORKER, "group", str(place)], env=environment, start_new_session=True, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 143, done.stderr
    assert kept(place)[0] == f"{STOPPED_IN:010d}.ckpt"
    train(place, [])
    assert_as_if_nothing_had_happened(place, folder / "whole")


def test_of_two_processes_both_leave_after_the_same_step_whichever_was_told(folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PATH)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    place = folder / "two"
    assert run_team([*WORKER, "second", str(place)], 2, place) == 0, (place / "rank_1.log").read_text()
    for rank in range(2):
        left = json.loads((place / f"left_{rank}.json").read_text())
        assert left == {"status": 138, "kept": [f"{STOPPED_IN:010d}.ckpt", f"{STOPPED_IN:010d}.csv"]}
    assert_as_if_nothing_had_happened(place / "stopped", place / "whole")
