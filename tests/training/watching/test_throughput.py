import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from activessf.training.watching.throughput import Throughput, peak_memory_gib


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Module:
    device = torch.device("cpu")

    def __init__(self):
        self.logged = []

    def log(self, name, value):
        self.logged.append((name, value))


def batches(watching, clock, module, seconds, parts=1, every=2):
    """Batches of eight images, a step of each `parts`, each of so many seconds."""
    for number, duration in enumerate(seconds, start=1):
        clock.now += duration
        trainer = SimpleNamespace(global_step=number // parts, log_every_n_steps=every)
        watching.on_train_batch_end(trainer, module, {}, (torch.zeros(8, 3, 4, 4), torch.zeros(8)), number - 1)
        yield number


def speeds(module):
    return [value for name, value in module.logged if name == "pretrain/images_per_second"]


def test_images_per_second_by_hand_without_the_start_and_without_pauses():
    clock, module = Clock(), Module()
    watching = Throughput(clock)
    for number in batches(watching, clock, module, [60.0, 2.0, 1.0, 3.0, 0.5, 0.5]):
        if number == 3:
            with watching.paused():
                clock.now += 1000
    assert speeds(module) == [8 / 2, 16 / 4, 16 / 1]
    assert [name for name, _ in module.logged].count("pretrain/memory_gib") == 3


def test_a_step_of_several_batches_is_logged_once_with_all_their_images():
    clock, module = Clock(), Module()
    for _ in batches(Throughput(clock), clock, module, [1.0] * 8, parts=2):
        pass
    assert speeds(module) == [8 * 3 / 3, 8 * 4 / 4]


def test_a_pause_before_the_start_is_none():
    clock, module = Clock(), Module()
    watching = Throughput(clock)
    with watching.paused():
        clock.now += 50
    for _ in batches(watching, clock, module, [1.0, 1.0]):
        pass
    assert speeds(module) == [8.0]


def test_a_trainer_that_never_logs_logs_nothing():
    clock, module = Clock(), Module()
    for _ in batches(Throughput(clock), clock, module, [1.0] * 4, every=0):
        pass
    assert module.logged == []


@pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux's /proc")
def test_the_peak_is_the_one_that_linux_has_noted():
    noted = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak_memory_gib(torch.device("cpu")) == pytest.approx(int(noted[1]) / 2**20, rel=0.02)
