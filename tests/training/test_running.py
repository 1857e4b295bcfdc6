import numpy as np
import pytest
import torch

from activessf.data.augmentations import WholeView
from activessf.data.datasets import ImageFiles
from activessf.data.images import write_png
from activessf.training.running import say_if_long


@pytest.mark.parametrize(("multiple", "expected"), [(1, 4), (2, 4), (5, 5), (8, 8)])
def test_a_step_is_timed_with_a_batch_that_the_method_takes(tmp_path, multiple, expected):
    write_png(np.zeros((8, 8, 3), np.uint8), tmp_path / "a.png")
    images, sizes = ImageFiles([tmp_path / "a.png"], None, WholeView(8), seed=0), []

    def loss_of(batch):
        sizes.append(len(batch))
        return torch.zeros((), requires_grad=True)

    say_if_long(loss_of, images, 64, 10, "Pretraining", multiple)
    assert torch.cuda.is_available() or sizes == [expected]
