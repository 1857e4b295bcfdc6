from types import SimpleNamespace

import pytest
import torch
from torch import nn

from activessf.training.averaging import WeightAverage


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def step(net: nn.Module, number: int) -> None:
    """Something like an optimiser step: weights and running statistics change."""
    torch.manual_seed(number)
    net.train()(torch.randn(4, 3))
    with torch.no_grad():
        for value in net.parameters():
            value.add_(torch.randn_like(value))


@pytest.mark.parametrize("decay", [0.5, 0.9999])
def test_the_average_is_that_of_a_naive_loop(decay):
    net = network()
    average = WeightAverage(net, decay)
    expected = {name: value.double().clone() for name, value in net.state_dict().items()}
    for number in range(1, 9):
        step(net, number)
        average.on_train_batch_end(SimpleNamespace(global_step=number))
        kept = min(decay, 1 - number ** (-2 / 3))  # 0 in the first step, then 0.37, 0.52, ...
        for name, value in net.state_dict().items():
            new = value.double()
            expected[name] = new if "tracked" in name else kept * expected[name] + (1 - kept) * new
    found = average.network.state_dict()
    assert found["1.num_batches_tracked"] == 8
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value, rtol=1e-5, atol=1e-6)


def test_accumulated_batches_are_one_step():
    net = network()
    average = WeightAverage(net, 0.9)
    for number in (1, 2):
        step(net, number)
        average.on_train_batch_end(SimpleNamespace(global_step=number))
    before = {name: value.clone() for name, value in average.network.state_dict().items()}
    step(net, 3)
    average.on_train_batch_end(SimpleNamespace(global_step=2))
    assert all(torch.equal(value, before[name]) for name, value in average.network.state_dict().items())


def test_the_network_that_is_trained_is_left_alone_and_the_average_is_in_evaluation_mode():
    net = network().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    average = WeightAverage(net, 0.9)
    average.on_train_batch_end(SimpleNamespace(global_step=1))
    assert net.training and not average.network.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_an_average_goes_on_from_a_file_that_holds_nothing_but_tensors_and_numbers(tmp_path):
    whole, parts = WeightAverage(net := network(), 0.9), WeightAverage(net, 0.9)
    for number in range(1, 7):
        step(net, number)
        for average in (whole, parts):
            average.on_train_batch_end(SimpleNamespace(global_step=number))
        torch.save(parts.state_dict(), tmp_path / "state.pt")
        parts = WeightAverage(network(), 0.9)
        parts.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        parts._trained = net
    for name, value in whole.network.state_dict().items():
        assert torch.equal(parts.network.state_dict()[name], value), name
