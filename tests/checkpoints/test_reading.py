import argparse
import re
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from activessf.checkpoints.reading import read_checkpoint
from activessf.errors import InputError
from activessf.pretrained import opened, read_state_dict

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


ONES = torch.ones(2, 2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ONES.to(torch.int8), "'blocks.0.qkv' as torch.int8, and weights are real floating-point numbers"),
        (lambda: ONES.to(torch.uint8), "'blocks.0.qkv' as torch.uint8, and weights"),
        (lambda: ONES.to(torch.int64), "'blocks.0.qkv' as torch.int64, and weights"),
        (lambda: ONES.bool(), "'blocks.0.qkv' as torch.bool, and weights"),
        (lambda: ONES.to(torch.complex64), "'blocks.0.qkv' as torch.complex64, and weights"),
        (lambda: ONES.to(torch.float8_e4m3fn), "'blocks.0.qkv' as torch.float8_e4m3fn, which must be converted"),
        (lambda: ONES.to(torch.float8_e8m0fnu), "'blocks.0.qkv' as torch.float8_e8m0fnu, which must be converted"),
        (lambda: ONES.to_sparse(), "'blocks.0.qkv' as a tensor that is not dense (torch.sparse_coo); save it dense"),
        (lambda: ONES.to_sparse_csr(), "'blocks.0.qkv' as a tensor that is not dense (torch.sparse_csr); save it"),
        (lambda: torch.nested.nested_tensor([ONES]), "'blocks.0.qkv' as a tensor that is not dense (nested); save it"),
        (lambda: torch.quantize_per_tensor(ONES, 0.1, 0, torch.qint8), "'blocks.0.qkv' quantised, as torch.qint8"),
        (lambda: ONES.to("meta"), "no values of 'blocks.0.qkv', which is on the device meta; save"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")  # torch's, of sparse, nested and quantised tensors
@pytest.mark.parametrize("read", [read_checkpoint, read_state_dict])
def test_weights_that_a_network_can_not_take_as_they_are_are_refused_by_name(make, words, read, tmp_path):
    value = make()
    torch.save({**WEIGHTS, "blocks.0.qkv": value, "later": value}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'a.pth'} holds {words}")) as caught:
        read(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)


def test_indexes_and_counters_are_whole_numbers_and_weights_may_have_half_precision(tmp_path):
    others = {
        "attn.relative_position_index": torch.arange(4).view(2, 2),
        "relative_position_index": torch.arange(4, dtype=torch.int32),
        "bn.num_batches_tracked": torch.tensor(3),
        "momentum_encoder.steps": torch.tensor(7),
        **{str(kind): ONES.to(kind) for kind in (torch.float16, torch.bfloat16, torch.float64)},
    }
    torch.save({**WEIGHTS, **others}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").keys() == {**WEIGHTS, **others}.keys()


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "pytorch_model.bin"])
def test_safetensors_are_told_by_their_content(name, tmp_path):
    save_file(WEIGHTS, tmp_path / name)
    assert read_checkpoint(tmp_path / name).keys() == WEIGHTS.keys()


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_are_told_by_their_content(zipped, tmp_path):
    torch.save(WEIGHTS, tmp_path / "a.safetensors", _use_new_zipfile_serialization=zipped)
    assert read_checkpoint(tmp_path / "a.safetensors").keys() == WEIGHTS.keys()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"error: not found", "begins with 'error: not found', as neither safetensors nor torch files do; check that"),
        (b"version https://git-lfs.github.com/spec/v1\n", "begins with 'version https://git-lfs.github.com/spec/', as"),
        (b"model = {}\n", r"begins with 'model = {}\n'"),
        (b"", "is empty, as neither"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_file_of_another_kind_is_told_by_how_it_begins(content, found, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{name} can't be read as weights: it {found}")) as caught:
        read_checkpoint(tmp_path / name)
    assert "\n" not in str(caught.value)


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


@pytest.mark.filterwarnings("ignore")  # torch's, of TorchScript
def test_a_network_as_torchscript_is_refused_without_advice_to_run_it(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth holds more than named tensors, and is not opened"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="is no file"):
        read_checkpoint(tmp_path / "missing.pth")
