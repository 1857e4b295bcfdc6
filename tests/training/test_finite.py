import json
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from watched import Blurred, Diverging, Stopped, cells, pretrained, runner, stopped, watch

from activessf.data.augmentations import RandomView
from activessf.data.datasets import training_loader
from activessf.errors import InputError
from activessf.training.finite import FiniteLoss

pytestmark = pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start")  # a method of the tests has some


def kept(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def check_remade(folder, tensors, metadata):
    """The views of a kept batch can be made again from what is noted beside it."""
    epoch, names = int(metadata["epoch"]), json.loads(metadata["images"])
    images = runner(folder).images(sorted((folder / "images").iterdir()), None, RandomView(32, (0.6, 1.0)))
    again = [images[epoch, [str(path) for path in images.paths].index(name)][0] for name in names]
    assert torch.equal(torch.stack(again), tensors["views"])


@pytest.mark.parametrize("step", [1, 5])
def test_the_batch_of_the_first_loss_that_is_no_number_is_kept(tmp_path, step):
    with pytest.raises(InputError, match=f"Pretraining: the loss is nan at optimiser step {step};") as caught:
        pretrained(tmp_path, Diverging(step), watch())
    path = tmp_path / "failed" / f"pretraining_step_00000{step}.safetensors"
    assert str(path) in str(caught.value) and list((tmp_path / "failed").iterdir()) == [path]
    tensors, metadata = kept(path)
    assert tensors["views"].shape == (8, 3, 32, 32) and tensors["targets"].tolist() == [0] * 8
    assert metadata["step"] == str(step) and metadata["seed"] == "0" and metadata["loss"] == "nan"
    assert int(metadata["epoch"]) == (step - 1) // 3  # three steps an epoch
    check_remade(tmp_path, tensors, metadata)


@pytest.mark.parametrize("resumed", [3, 4, 5])
@pytest.mark.parametrize("later", [1, 2, 4])
def test_the_right_batch_is_kept_of_a_training_that_was_resumed(tmp_path, resumed, later):
    often, step = runner(tmp_path, minutes=0), resumed + later
    with pytest.raises(Stopped):
        pretrained(tmp_path, stopped(Diverging(step), resumed), watch(), made_by=often, name="stopped")
    with pytest.raises(InputError, match=f"the loss is nan at optimiser step {step};"):
        pretrained(tmp_path, Diverging(step), watch(), made_by=often)
    tensors, metadata = kept(tmp_path / "failed" / f"pretraining_step_00000{step}.safetensors")
    assert int(metadata["epoch"]) == (step - 1) // 3
    check_remade(tmp_path, tensors, metadata)


def test_of_accumulated_batches_the_one_is_kept_that_did_it(tmp_path):
    with pytest.raises(InputError, match="at optimiser step 3;"):
        pretrained(tmp_path, Diverging(3), watch(), made_by=runner(tmp_path, accumulate_grad_batches=2))
    tensors, metadata = kept(tmp_path / "failed" / "pretraining_step_000003.safetensors")
    assert len(tensors["views"]) == len(json.loads(metadata["images"])) == 4


def test_a_training_that_goes_well_keeps_nothing(tmp_path):
    pretrained(tmp_path, Blurred(), watch())
    assert not (tmp_path / "failed").exists()


class OnGPU(torch.Tensor):
    is_cuda = True


def loss(value):
    return torch.tensor(value).as_subclass(OnGPU)


def steps(guard, loader, batches, losses):
    """What Lightning calls, for a loss that is on a GPU."""
    given = iter(loader)
    for step, (batch, value) in enumerate(zip(batches, losses, strict=True)):
        next(given)
        guard.on_train_batch_start(SimpleNamespace(global_step=step), None, batch, step)
        done = SimpleNamespace(global_step=step + 1, train_dataloader=loader, precision="32-true")
        guard.on_train_batch_end(done, None, {"loss": loss(value)}, batch, step)


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_a_look_that_comes_late_keeps_the_right_batch_and_the_last_is_looked_at_too(tmp_path, wrong):
    loader = training_loader(cells(tmp_path).images, 4, 0)
    next(iter(loader))  # begins an epoch
    batches = [(torch.full((4, 3, 2, 2), float(number)), torch.zeros(4)) for number in range(3)]
    losses = [float("inf") if number >= wrong else 1.0 for number in range(3)]
    guard = FiniteLoss("Fine-tuning", tmp_path / "failed")
    with pytest.raises(InputError, match=f"Fine-tuning: the loss is inf at optimiser step {wrong + 1};"):
        steps(guard, loader, batches, losses)
        ended = SimpleNamespace(global_step=3, train_dataloader=loader, precision="32-true")
        guard.on_train_end(ended, torch.nn.Linear(1, 1))
    tensors, metadata = kept(tmp_path / "failed" / f"fine-tuning_step_00000{wrong + 1}.safetensors")
    assert (tensors["views"] == wrong).all() and metadata["step"] == str(wrong + 1)


@pytest.mark.parametrize(("precision", "advised"), [("32-true", False), ("64-true", False), ("bf16-mixed", True)])
def test_more_bits_are_advised_only_where_there_are_fewer(tmp_path, precision, advised):
    loader = training_loader(cells(tmp_path).images, 4, 0)
    batch = next(iter(loader))
    guard = FiniteLoss("Pretraining", tmp_path / "failed")
    trainer = SimpleNamespace(global_step=0, train_dataloader=loader, precision=precision)
    guard.on_train_batch_start(trainer, None, batch, 0)
    with pytest.raises(InputError, match="lower the recipe's base_lr.*That batch is kept") as caught:
        guard.on_train_batch_end(trainer, None, {"loss": torch.tensor(float("nan"))}, batch, 0)
    assert ("trainer.precision=32-true" in str(caught.value)) == advised


def test_weights_that_are_no_numbers_after_the_last_step_are_no_result(tmp_path):
    module = torch.nn.Linear(2, 2)
    guard = FiniteLoss("Pretraining", tmp_path / "failed")
    guard.on_train_end(SimpleNamespace(global_step=3, train_dataloader=None), module)
    with torch.no_grad():
        module.bias[1] = float("nan")
    with pytest.raises(InputError, match="last of 3 optimiser steps left weights that are no numbers, such as bias"):
        guard.on_train_end(SimpleNamespace(global_step=3, train_dataloader=None), module)
