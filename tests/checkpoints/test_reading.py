import argparse
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from activessf.checkpoints.reading import read_checkpoint
from activessf.errors import InputError

WEIGHTS = {"a.weight": torch.arange(3.0), "b": torch.ones(1)}


@pytest.mark.parametrize("holder", ["model", "state_dict", "teacher", "state_dict_ema", None])
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_weights_are_found_in_what_training_scripts_save(holder, wrapper, tmp_path):
    weights = {wrapper + name: value for name, value in WEIGHTS.items()}
    rest = {"epoch": 7, "args": argparse.Namespace(lr=1e-3, betas=(0.9, 0.95)), "scaler": {"scale": 2.0}}
    torch.save({holder: weights, **rest} if holder else weights, tmp_path / "a.pth")
    found = read_checkpoint(tmp_path / "a.pth")
    assert found.keys() == WEIGHTS.keys() and all(torch.equal(found[name], WEIGHTS[name]) for name in found)


def test_safetensors_are_read(tmp_path):
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    assert read_checkpoint(tmp_path / "a.safetensors").keys() == WEIGHTS.keys()


def test_a_prefix_that_not_all_names_have_is_part_of_them(tmp_path):
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "a.pth")
    assert set(read_checkpoint(tmp_path / "a.pth")) == {"module.a", "b"}


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"model": {"a": 3}}, [torch.ones(1)], torch.ones(1)])
def test_a_file_without_weights_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth holds no weights"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(value, tmp_path):
    torch.save({"model": {**WEIGHTS, "blocks.0.qkv": torch.tensor([1.0, value])}}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth holds values that are no finite numbers, in 'blocks\.0\.qkv'"):
        read_checkpoint(tmp_path / "a.pth")


class Marker:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("place", ["args", "inside"])
def test_nothing_else_is_unpickled(place, tmp_path):
    marker = Marker(tmp_path / "ran")
    args = argparse.Namespace(hook=marker) if place == "inside" else marker
    torch.save({"model": WEIGHTS, "args": args}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="holds more than named tensors"):
        read_checkpoint(tmp_path / "a.pth")
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="is no file"):
        read_checkpoint(tmp_path / "missing.pth")
