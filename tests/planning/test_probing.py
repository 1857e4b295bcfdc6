import torch
from torch import nn

from activessf.planning import probing


def test_a_step_is_timed_on_a_few_images_and_reckoned_for_a_batch(monkeypatch):
    clock, sizes = [0.0], []
    network = nn.Linear(2, 1)

    def loss_of(images: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(images.shape))
        # A pass takes 0.5 s an image; the first one 100 s more.
        clock[0] += 0.5 * len(images) + (100 if len(sizes) == 1 else 0)
        return network(images.mean(dim=(1, 2))).sum()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(probing.time, "monotonic", lambda: clock[0])
    assert probing.probe_step(network, loss_of, torch.zeros(3, 4, 2), batch_size=64) == 32
    assert set(sizes) == {(4, 3, 4, 2)}
    sizes.clear()
    assert probing.probe_step(network, loss_of, torch.zeros(3, 4, 2), batch_size=64, multiple=6) == 32
    assert set(sizes) == {(6, 3, 4, 2)}
