"""What stages have cost before, read from the results that are there, or from a table of another machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from activessf.artifacts import INPUTS_FILE, fingerprint
from activessf.artifacts.results import MADE_FILE
from activessf.errors import InputError
from activessf.manifests import json_if_there
from activessf.planning.plan import PLAN_FILE, read_plans
from activessf.planning.table import read_times
from activessf.planning.times import Kind, Time, training_time
from activessf.training.timing import TIMING_FILE

# What the time of a step does not depend on.
_NO_PART_IN_STEPS = (
    *("epochs", "steps", "warmup_epochs", "warmup_steps", "base_lr", "min_lr", "weight_decay", "betas", "layer_decay"),
    "norm_pix_loss",
)


class TrainingTime(NamedTuple):
    """How long a training takes.

    Attributes:
        seconds_per_step: Loading included.
        others: Seconds besides the steps: starting up, probes, tests.
        device: What it was measured on.
    """

    seconds_per_step: float
    others: float
    device: str


def pretraining_kind(inputs: Mapping[str, Any]) -> Kind:
    """Pretrainings of one kind have steps that take equally long; from the inputs of its result."""
    training = {key: value for key, value in inputs["training"].items() if key not in _NO_PART_IN_STEPS}
    method = {key: inputs["method"][key] for key in ("name", "method", "view")}
    parts = ["pretraining", method, _network(inputs["backbone"]), training, inputs["trainer"], inputs["compile"]]
    exact = fingerprint(parts)
    return _kind("pretraining", method["name"], inputs["backbone"], method["view"], training, inputs["trainer"], exact)


def finetuning_kind(inputs: Mapping[str, Any]) -> Kind:
    """The same for the fine-tuning of a run, from the inputs of the run."""
    settings = inputs["settings"]
    recipe, backbone, trainer = settings["recipe"]["finetuning"], settings["backbone"], settings["trainer"]
    training = {key: value for key, value in recipe.items() if key not in _NO_PART_IN_STEPS}
    exact = fingerprint(["finetuning", _network(backbone), training, settings["loss"], trainer])
    return _kind("run", "", backbone, recipe["view"], training, trainer, exact)


def _kind(
    stage: str,
    name: str,
    backbone: Mapping[str, Any],
    view: Mapping[str, Any],
    training: Mapping[str, Any],
    trainer: Mapping[str, Any],
    exact: str,
) -> Kind:
    precision = str(trainer["precision"])
    return Kind(stage, name, str(backbone["name"]), _image_size(view), int(training["batch_size"]), precision, exact)


def _image_size(view: Mapping[str, Any]) -> int:
    """Side of the images of a view, which may be made of other ones; 0 if it has none."""
    if "size" in view:
        return int(view["size"])
    return max((_image_size(part) for part in view.values() if isinstance(part, Mapping)), default=0)


def _network(backbone: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in backbone.items() if key not in ("checkpoint", "pretrained")}


class Measured:
    """What is known of costs.

    Args:
        times: All rows.
        device: What training would run on; times measured on it are preferred, else those of the device named first.
    """

    def __init__(self, times: Sequence[Time], device: str) -> None:
        self._device = device
        self._stages = [time for time in times if time.kind is None]
        self._trainings: dict[Kind, list[Time]] = {}
        for time in times:
            if time.kind is not None:
                self._trainings.setdefault(time.kind, []).append(time)

    def stage(self, stage: str, label: str) -> float | None:
        """Median seconds of the stage's results, those of this label if there are any; None if there is none."""
        costs = [time for time in self._stages if time.stage == stage]
        same = [time.seconds for time in costs if time.name == label]
        seconds = same or [time.seconds for time in costs]
        return median(seconds) if seconds else None

    def training(self, kind: Kind) -> TrainingTime | None:
        """How long a training of this kind takes; None if nobody knows.

        Rows that people have written count where there is none of exactly this kind.
        """
        found = self._trainings.get(kind) or self._trainings.get(kind.coarse, [])
        if not found:
            return None
        devices = [time.device for time in found]
        device = self._device if self._device in devices else devices[0]
        here = [time for time in found if time.device == device]
        steps, others = median(time.seconds_per_step for time in here), median(time.seconds for time in here)
        return TrainingTime(steps, others, device)


def known_times(place: Path) -> list[Time]:
    """The rows of a table, or of the results in an output folder.

    Raises:
        InputError: There is neither, or the table can't be read.
    """
    if place.is_file():
        return read_times(place)
    if not place.is_dir():
        raise InputError(
            f"plan.measured={place} is neither an output folder of trainings nor a table of times; name one, or null."
        )
    return noted_times(place)


def noted_times(output_dir: Path) -> list[Time]:
    """What the results in an output folder took; of results by an earlier version, what can be read."""
    made = ((path.parent, json_if_there(path)) for path in sorted(output_dir.glob(f"stages/*/*/{MADE_FILE}")))
    times = [
        Time(folder.parent.name, folder.name.rpartition("-")[0], seconds=float(said["seconds"]))
        for folder, said in made
        if "seconds" in said and not folder.name.startswith(".") and folder.parent.name != "pretraining"
    ]
    for pattern, kind_of in (("stages/pretraining/*", pretraining_kind), ("runs/*/fold_*", finetuning_kind)):
        times += _of_trainings(output_dir, pattern, kind_of)
    return times


def probed_times(output_dir: Path) -> list[Time]:
    """What dry runs with this output folder have timed for a few steps."""
    folders = sorted(path.parent for path in output_dir.glob(f"jobs/**/{PLAN_FILE}"))
    return [time for plan in read_plans(folders) for time in plan.probed]


def _of_trainings(output_dir: Path, pattern: str, kind_of: Callable[[Mapping[str, Any]], Kind]) -> Iterator[Time]:
    for path in sorted(output_dir.glob(f"{pattern}/{TIMING_FILE}")):
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
            yield training_time(kind_of(inputs), str(timing["device"]), per_step, others)
        except (KeyError, TypeError, ValueError):
            continue  # of an earlier version
