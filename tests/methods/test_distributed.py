"""Two processes on one machine, with half of the batch each, do what one process does with the whole."""

import os
import sys
from datetime import timedelta

import pytest
import torch
from test_convmae import tiny_convmae
from test_mae import tiny_mae
from test_mixedae import tiny_mixedae
from test_mixmim import tiny_mixmim
from test_mocov3 import tiny_moco
from timm.layers import BatchNormAct2d
from torch import distributed as dist
from torch import multiprocessing, nn

from activessf.data.datasets import batch_share
from activessf.errors import InputError
from activessf.methods.batch_norm import GlobalBatchNorm1d, normalise_together
from activessf.methods.distributed import (
    alone,
    drawn,
    gathered,
    num_processes,
    process_rank,
    said_by_first,
    summed,
)

NUM_PROCESSES = 2
ROWS = (3, 5)  # of each process: their numbers need not agree


MASKED = {"mae": tiny_mae, "convmae": tiny_convmae, "mixmim": tiny_mixmim, "mixedae": tiny_mixedae}


def train_moco(rank, num_parts, wrap):
    """See `train`; two views of each of eight images."""
    views = torch.randn(8, 2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return train(tiny_moco(momentum=0.5), wrap, views.chunk(num_parts)[rank], 0.3)


def train_masked(name, rank, num_parts, wrap):
    """See `train`; eight images and the noise that hides their patches."""
    method = MASKED[name]()
    side, cells = (48, 9) if name == "mixmim" else (32, 16)
    generator = torch.Generator().manual_seed(5)
    views = torch.randn(8, 3, side, side, dtype=torch.float64, generator=generator)
    noise = torch.rand(2 if name == "mixedae" else 8, cells, generator=generator)
    part = views[list(batch_share(8, rank, num_parts, method.mirrors_batch).places)]
    if name == "mixmim":  # one mask for all, drawn by process 0
        torch.manual_seed(5 + rank)
        return train(method, wrap, part, 0.3)
    return train(method, wrap, part, 0.3, noise.chunk(num_parts)[rank])


def train(method, wrap, *inputs):
    """Two steps on a part of a batch: losses, gradients of the first, and everything that is left after the second."""
    method = method.double().train()
    network, losses = wrap(method), []
    optimizer = torch.optim.SGD([value for value in method.parameters() if value.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loss = network(*inputs)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if len(losses) == 1:
            named = method.named_parameters()
            gradients = {name: value.grad.clone() for name, value in named if value.grad is not None}
    return {"losses": torch.stack(losses), "gradients": gradients, "state": method.state_dict()}


def features():
    rows = torch.randn(sum(ROWS), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    return 100 + rows * torch.tensor([1, 2, 3, 0.01], dtype=torch.float64)


def normalise(norm, rows, weights):
    """Output of a norm with weights of its own, and gradients of a weighted sum of it."""
    norm = norm.double().train()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2, 0.5, -1]))
        norm.bias.copy_(torch.tensor([0.0, 1, 2, 3]))
    rows = rows.clone().requires_grad_(True)
    output = norm(rows)
    (output * weights).sum().backward()
    return {
        "output": output.detach(), "rows": rows.grad, "weight": norm.weight.grad, "bias": norm.bias.grad,
        "state": norm.state_dict(),
    }  # fmt: skip


def sum_weights():
    return torch.randn(sum(ROWS), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def maps():
    return 5 + torch.randn(sum(ROWS), 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(8))


def normalise_maps(network, images):
    """Output of a network with batch normalisations of maps, gradients of a sum of it, and what it keeps track of."""
    network = network.double().train()
    with torch.no_grad():
        for norm in network:
            norm.weight.copy_(torch.tensor([1.0, 2, -0.5]))
            norm.bias.copy_(torch.tensor([0.0, 1, 0.2]))
    images = images.clone().requires_grad_(True)
    output = network(images)
    (output**3).sum().backward()
    gradients = {name: value.grad for name, value in network.named_parameters()}
    return {"output": output.detach(), "images": images.grad, "gradients": gradients, "state": network.state_dict()}


def norms_of_maps():
    return nn.Sequential(nn.BatchNorm2d(3), BatchNormAct2d(3), nn.BatchNorm2d(3))


def together(network):
    normalise_together(network)
    return network


def exchange(rank):
    """A sum and a gathering of rows that depend on the process."""
    rows = torch.full((2, 3), float(rank + 1), requires_grad=True)
    (summed(rows) * (rank + 10)).sum().backward()
    collected = gathered(rows)
    return {"sum": summed(rows.detach()), "gradient": rows.grad, "gathered": collected, "rank": process_rank()}


def drawn_twice(rank):
    """Noise for two rows of each process; process 0 alone has the seed that counts."""
    torch.manual_seed(11 if rank == 0 else 99)
    cpu = torch.device("cpu")
    rows = [drawn(2, 3, device=cpu) for _ in range(2)]
    with alone():
        own = drawn(2, 3, device=cpu)
        assert num_processes() == 1 and process_rank() == 0
    return {"rows": rows, "own": own, "said": [said_by_first(rank == 0, cpu), said_by_first(rank == 1, cpu)]}


def work(rank, folder):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    dist.init_process_group(
        "gloo", f"file://{folder}/meeting", timedelta(seconds=60), rank=rank, world_size=NUM_PROCESSES
    )
    assert num_processes() == NUM_PROCESSES
    start = sum(ROWS[:rank])
    part = slice(start, start + ROWS[rank])
    results = {
        "moco": train_moco(rank, NUM_PROCESSES, nn.parallel.DistributedDataParallel),
        **{name: train_masked(name, rank, NUM_PROCESSES, nn.parallel.DistributedDataParallel) for name in MASKED},
        "norm": normalise(GlobalBatchNorm1d(4), features()[part], sum_weights()[part]),
        "maps": normalise_maps(together(norms_of_maps()), maps()[part]),
        "drawn": drawn_twice(rank),
        "exchange": exchange(rank),
    }
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    # Forks of a fresh process, which has imported what is slow to import.
    multiprocessing.get_context("forkserver").set_forkserver_preload(["activessf.methods.mocov3"])
    multiprocessing.start_processes(work, (folder,), NUM_PROCESSES, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt") for rank in range(NUM_PROCESSES)]


def close(found, expected, atol=1e-12):
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=0, atol=atol)


def test_moco_of_two_processes_equals_moco_of_one(results):
    expected = train_moco(0, 1, lambda method: method)
    losses = torch.stack([result["moco"]["losses"] for result in results])
    assert close(losses.mean(dim=0), expected["losses"]) and (losses[0] != losses[1]).all()
    assert len(expected["gradients"]) > 30
    for result in results:
        for what in ("gradients", "state"):
            assert set(result["moco"][what]) == set(expected[what])
            for name, value in expected[what].items():
                assert close(result["moco"][what][name], value), (what, name)


@pytest.mark.parametrize("name", MASKED)
def test_a_masked_autoencoder_of_two_processes_equals_one_of_one(results, name):
    expected = train_masked(name, 0, 1, lambda method: method)
    losses = torch.stack([result[name]["losses"] for result in results])
    assert close(losses.mean(dim=0), expected["losses"]) and (losses[0] != losses[1]).all()
    for result in results:
        for what in ("gradients", "state"):
            assert set(result[name][what]) == set(expected[what]) and len(expected[what]) > 20
            for key, value in expected[what].items():
                assert close(result[name][what][key], value), (what, key)


def test_batch_norm_of_two_processes_equals_batch_norm_of_one(results):
    expected = normalise(nn.BatchNorm1d(4), features(), sum_weights())
    found = [result["norm"] for result in results]
    for name in ("output", "rows"):
        assert close(torch.cat([part[name] for part in found]), expected[name], 1e-9), name
    for name in ("weight", "bias"):
        assert close(sum(part[name] for part in found), expected[name], 1e-9), name
    for part in found:
        assert set(part["state"]) == set(expected["state"])
        for name, value in expected["state"].items():
            assert close(part["state"][name], value), name


def test_sums_and_their_gradients_are_of_all_processes(results):
    for rank, result in enumerate(results):
        found = result["exchange"]
        assert found["rank"] == rank
        assert (found["sum"] == 1 + 2).all() and (found["gradient"] == 10 + 11).all()
        assert found["gathered"].tolist() == [[1.0] * 3] * 2 + [[2.0] * 3] * 2
        assert not found["gathered"].requires_grad


def test_alone_a_process_is_the_whole():
    rows = torch.randn(4, 3, requires_grad=True)
    assert (num_processes(), process_rank()) == (1, 0)
    assert summed(rows) is rows
    assert torch.equal(gathered(rows), rows) and not gathered(rows).requires_grad


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_alone_batch_norm_is_that_of_torch(affine, training):
    ours, theirs = GlobalBatchNorm1d(6, affine=affine), nn.BatchNorm1d(6, affine=affine)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    rows = torch.randn(5, 6)
    for _ in range(2):
        assert torch.equal(ours.train(training)(rows), theirs.train(training)(rows))
    assert all(torch.equal(ours.state_dict()[name], value) for name, value in theirs.state_dict().items())


def test_batch_norms_of_maps_of_two_processes_equal_those_of_one(results):
    expected = normalise_maps(norms_of_maps(), maps())
    found = [result["maps"] for result in results]
    for name in ("output", "images"):
        assert close(torch.cat([part[name] for part in found]), expected[name], 1e-9), name
    for name, value in expected["gradients"].items():
        assert close(sum(part["gradients"][name] for part in found), value, 1e-8), name
    for part in found:
        assert set(part["state"]) == set(expected["state"])
        for name, value in expected["state"].items():
            assert close(part["state"][name], value), name


def test_noise_of_two_processes_is_that_of_one(results):
    torch.manual_seed(11)
    for number in range(2):
        parts = [result["drawn"]["rows"][number] for result in results]
        assert torch.equal(torch.cat(parts), torch.rand(4, 3))
    assert torch.equal(results[0]["drawn"]["own"], torch.rand(2, 3))
    torch.manual_seed(99)
    assert torch.equal(results[1]["drawn"]["own"], torch.rand(2, 3))


def test_the_first_process_decides(results):
    assert [result["drawn"]["said"] for result in results] == [[True, False]] * 2


def test_a_network_keeps_its_weights_and_alone_its_outputs():
    network, images = norms_of_maps(), torch.randn(4, 3, 5, 5)
    expected = network(images)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    normalise_together(network)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())
    assert torch.equal(network(images), expected)


def test_a_batch_norm_of_another_kind_is_refused():
    with pytest.raises(InputError, match="BatchNorm3d can't be trained on several devices"):
        normalise_together(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm3d(4)))
