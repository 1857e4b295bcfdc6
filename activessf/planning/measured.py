"""What stages have cost before, read from the results that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from activessf.artifacts import INPUTS_FILE, fingerprint
from activessf.artifacts.results import MADE_FILE
from activessf.manifests import json_if_there
from activessf.training.timing import TIMING_FILE

# What the time of a step does not depend on.
_NO_PART_IN_STEPS = (
    *("epochs", "steps", "warmup_epochs", "warmup_steps", "base_lr", "min_lr", "weight_decay", "betas", "layer_decay"),
    "norm_pix_loss",
)


@dataclass(frozen=True)
class TrainingTime:
    """How long a training takes.

    Attributes:
        seconds_per_step: Loading included.
        others: Seconds besides the steps: starting up, probes, tests.
        device: What it was measured on.
    """

    seconds_per_step: float
    others: float
    device: str


def pretraining_kind(inputs: Mapping[str, Any]) -> str:
    """Pretrainings of one kind have steps that take equally long; from the inputs of its result."""
    training = {key: value for key, value in inputs["training"].items() if key not in _NO_PART_IN_STEPS}
    method = {key: inputs["method"][key] for key in ("name", "method", "view")}
    parts = ["pretraining", method, _network(inputs["backbone"]), training, inputs["trainer"], inputs["compile"]]
    return fingerprint(parts)


def finetuning_kind(inputs: Mapping[str, Any]) -> str:
    """The same for the fine-tuning of a run, from the inputs of the run."""
    settings = inputs["settings"]
    recipe = settings["recipe"]["finetuning"]
    training = {key: value for key, value in recipe.items() if key not in _NO_PART_IN_STEPS}
    return fingerprint(["finetuning", _network(settings["backbone"]), training, settings["loss"], settings["trainer"]])


def _network(backbone: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in backbone.items() if key not in ("checkpoint", "pretrained")}


class Measured:
    """The costs of all results in an output folder.

    Args:
        output_dir: The folder.
        device: What training would run on; times measured on it are preferred.
    """

    def __init__(self, output_dir: Path, device: str) -> None:
        self._output_dir = output_dir
        self._device = device

    def stage(self, stage: str, label: str) -> float | None:
        """Median seconds of the stage's results, those of this label if there are any; None if there is none."""
        costs = [(label_, seconds) for stage_, label_, seconds in self._stages if stage_ == stage]
        same = [seconds for label_, seconds in costs if label_ == label]
        seconds = same or [seconds for _, seconds in costs]
        return median(seconds) if seconds else None

    def training(self, kind: str) -> TrainingTime | None:
        """How long a training of this kind takes; None if there was none."""
        found = self._trainings.get(kind, [])
        here = [time for time in found if time.device == self._device] or found
        if not here:
            return None
        steps, others = median(time.seconds_per_step for time in here), median(time.others for time in here)
        return TrainingTime(steps, others, here[0].device)

    @cached_property
    def _stages(self) -> list[tuple[str, str, float]]:
        made = ((path.parent, json_if_there(path)) for path in sorted(self._output_dir.glob(f"stages/*/*/{MADE_FILE}")))
        return [
            (folder.parent.name, folder.name.rpartition("-")[0], float(said["seconds"]))
            for folder, said in made
            if "seconds" in said and not folder.name.startswith(".")
        ]

    @cached_property
    def _trainings(self) -> dict[str, list[TrainingTime]]:
        found: dict[str, list[TrainingTime]] = {}
        for pattern, kind_of in (("stages/pretraining/*", pretraining_kind), ("runs/*/fold_*", finetuning_kind)):
            for kind, time in self._of(pattern, kind_of):
                found.setdefault(kind, []).append(time)
        return found

    def _of(self, pattern: str, kind_of: Callable[[Mapping[str, Any]], str]) -> Iterator[tuple[str, TrainingTime]]:
        for path in sorted(self._output_dir.glob(f"{pattern}/{TIMING_FILE}")):
            folder = path.parents[1]
            timing, made, inputs = (
                json_if_there(path),
                json_if_there(folder / MADE_FILE),
                json_if_there(folder / INPUTS_FILE),
            )
            try:
                steps = int(timing["steps"])
                if steps < 1:
                    continue
                per_step = (float(timing["computing"]) + float(timing["waiting"])) / steps
                others = max(0.0, float(made["seconds"]) - steps * per_step)
                yield kind_of(inputs), TrainingTime(per_step, others, str(timing["device"]))
            except (KeyError, TypeError, ValueError):
                continue  # of an earlier version
