import random

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything
from torch import nn

from activessf.training.watching.untouched import untouched


def network():
    parts = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.1)))
    parts.train()
    parts[2].eval()
    return parts


def draws():
    return random.random(), float(np.random.rand()), float(torch.rand(1))


@pytest.mark.parametrize("fails", [False, True])
def test_modes_are_as_before_even_after_a_failure(fails):
    parts = network()
    before = [module.training for module in parts.modules()]
    try:
        with untouched(parts):
            assert not any(module.training for module in parts.modules())
            if fails:
                raise ValueError
    except ValueError:
        assert fails
    assert [module.training for module in parts.modules()] == before == [True, True, True, False, True, True]


def test_random_numbers_go_on_as_if_nothing_had_been():
    parts = network()
    seed_everything(1, verbose=False)
    expected = draws()
    seed_everything(1, verbose=False)
    with untouched(parts):
        torch.manual_seed(7)
        draws()
    assert draws() == expected


def test_running_statistics_stay_and_nothing_is_to_be_differentiated():
    parts = network()
    before = {name: value.clone() for name, value in parts.state_dict().items()}
    with untouched(parts):
        assert not parts(torch.randn(8, 4)).requires_grad
    assert all(torch.equal(value, before[name]) for name, value in parts.state_dict().items())
    assert parts(torch.randn(8, 4)).requires_grad


def test_nothing_is_compiled_and_what_was_compiled_is_used_again():
    compiled = []

    def backend(graph, _):
        compiled.append(graph)
        return graph.forward

    part = nn.Linear(4, 4)
    part.compile(backend=backend, dynamic=False)
    with untouched(part):
        part(torch.randn(3, 4))
    assert compiled == []
    part(torch.randn(8, 4))
    with untouched(part):
        part(torch.randn(5, 4))
    part(torch.randn(8, 4))
    assert len(compiled) == 1
