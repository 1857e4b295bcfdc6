import argparse
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from activessf.checkpoints.reading import read_checkpoint
from activessf.errors import InputError
from activessf.pretrained import opened

WEIGHTS = {"a.weight": torch.arange(3.0), "b": torch.ones(1)}


@pytest.mark.parametrize("holder", ["model", "state_dict", "teacher", "state_dict_ema", None])
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_weights_are_found_in_what_training_scripts_save(holder, wrapper, tmp_path):
    weights = {wrapper + name: value for name, value in WEIGHTS.items()}
    rest = {"epoch": 7, "args": argparse.Namespace(lr=1e-3, betas=(0.9, 0.95)), "scaler": {"scale": 2.0}}
    torch.save({holder: weights, **rest} if holder else weights, tmp_path / "a.pth")
    found = read_checkpoint(tmp_path / "a.pth")
    assert found.keys() == WEIGHTS.keys() and all(torch.equal(found[name], WEIGHTS[name]) for name in found)


def test_paths_and_numbers_of_numpy_beside_the_weights_are_held_but_touch_nothing(tmp_path):
    args = argparse.Namespace(output=Path("/data/out"), lr=np.float64(0.5), epoch=np.int64(3), half=np.float16(2))
    torch.save({"model": WEIGHTS, "args": args, "best": np.float32(1.5), "seen": np.bool_(True)}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").keys() == WEIGHTS.keys()
    held = opened(tmp_path / "a.pth")
    assert type(held["args"].output) is PurePosixPath and str(held["args"].output) == "/data/out"
    assert (held["args"].lr, held["args"].epoch, held["best"], held["seen"]) == (0.5, 3, 1.5, True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"pathlib\nWindowsPath\n", PureWindowsPath("data")),
        (b"pathlib._local\nPosixPath\n", PurePosixPath("data")),
        (b"pathlib\nPosixPath\n", PurePosixPath("data")),
    ],
)
def test_paths_of_other_systems_and_versions_of_python(name, expected, tmp_path):
    torch.save({"model": WEIGHTS, "output": PurePosixPath("data")}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "a.pth", "w") as other:
        for entry in plain.namelist():
            content = plain.read(entry)
            if entry.endswith("data.pkl"):
                assert b"pathlib\nPurePosixPath\n" in content
                content = content.replace(b"pathlib\nPurePosixPath\n", name)
            other.writestr(entry, content)
    assert opened(tmp_path / "a.pth")["output"] == expected


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
