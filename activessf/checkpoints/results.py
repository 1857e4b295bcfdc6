"""The networks that runs and pretrainings have left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from activessf.backbones.described import arguments_of, described_network, is_of_timm
from activessf.errors import InputError
from activessf.manifests import read_json
from activessf.pretrained import load_weights, read_state_dict

_BACKBONE, _POOL = "backbone.", "ssl_method.finetuning_pool"


@dataclass(frozen=True)
class TrainedNetwork:
    """A network of a result folder.

    Attributes:
        settings: The configuration's `backbone`.
        arguments: What else it is made with: `num_classes`, and `global_pool` of a classifier.
        weights: By timm's names, or the published ones where timm lacks the network.
        classes: In the order of its outputs; none of an encoder.
    """

    settings: Mapping[str, Any]
    arguments: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    classes: tuple[str, ...]

    @property
    def is_of_timm(self) -> bool:
        """Whether `timm.create_model` makes such a network."""
        return is_of_timm(self.settings)

    @property
    def constructor(self) -> dict[str, Any]:
        """All arguments of what makes it; for timm `model_name` is among them."""
        return {**arguments_of(self.settings), **self.arguments}

    def build(self) -> nn.Module:
        """The network with its weights, in evaluation mode.

        Raises:
            InputError: Weights and settings don't fit each other.
        """
        network = described_network(self.settings, **self.arguments)
        load_weights(network, self.weights, "the folder")
        return network.eval()


def trained_network(folder: Path) -> TrainedNetwork:
    """The classifier of a run's fold, or the encoder of a pretraining.

    Args:
        folder: `outputs/runs/NAME/fold_K` or `outputs/stages/pretraining/NAME`.

    Raises:
        InputError: It is neither, lacks a file, or its classifier is one that no other program has.
    """
    if (folder / "network.safetensors").is_file():
        record = read_json(folder / "run.json")
        settings = {
            key.removeprefix(_BACKBONE): value for key, value in record["settings"].items() if key.startswith(_BACKBONE)
        }
        _check_linear(record["settings"], folder)
        classes = tuple(record["classes"])
        pool = record["settings"].get(_POOL, "avg")  # a run of before there was a choice has none
        arguments = {"num_classes": len(classes), "global_pool": pool}
        return TrainedNetwork(settings, arguments, read_state_dict(folder / "network.safetensors"), classes)
    if (folder / "encoder.safetensors").is_file():
        settings = read_json(folder / "inputs.json").get("backbone")
        if not isinstance(settings, dict):
            raise InputError(f"{folder / 'inputs.json'} names no backbone; name a result of pretraining.")
        return TrainedNetwork(settings, {"num_classes": 0}, read_state_dict(folder / "encoder.safetensors"), ())
    raise InputError(
        f"{folder} has neither network.safetensors nor encoder.safetensors; name a run's fold (outputs/runs/NAME/"
        "fold_K) or a pretraining (outputs/stages/pretraining/NAME)."
    )


def _check_linear(settings: Mapping[str, Any], folder: Path) -> None:
    """A retrained head is linear, whatever the loss was before."""
    if settings.get("loss.normalised_classifier") and not settings.get("recipe.finetuning.retrain_head"):
        raise InputError(
            f"{folder} has a classifier of normalised features (loss=ldam), which networks elsewhere lack; export a "
            "run with loss.normalised_classifier=false, or the encoder of its pretraining."
        )
