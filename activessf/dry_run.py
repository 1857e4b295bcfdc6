"""What `train.py` would do for one configuration and fold, without doing it: which results it needs, and their cost.

The key of a pretraining follows from the images that stage 2 chooses. Before there are any, two selections that will
turn out the same count as two.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from torch import Tensor, nn

from activessf.artifacts import Artifact, fingerprint
from activessf.configuration import build, is_supervised
from activessf.data.datasets import View
from activessf.launching.command import in_sweep, jobs_at_a_time
from activessf.manifests import write_json
from activessf.pipeline import Pipeline
from activessf.planning.measured import Measured, TrainingTime, finetuning_kind, known_times, pretraining_kind
from activessf.planning.plan import PLAN_FILE, Piece, Plan, told
from activessf.planning.probing import probe_step
from activessf.planning.times import Kind, Time, training_time
from activessf.training.retraining import freeze_backbone
from activessf.training.running import num_steps
from activessf.training.timing import device_name

log = logging.getLogger(__name__)

_known_times = cache(known_times)  # the results that are there are read once for all jobs of a sweep
_probed: dict[Kind, Time] = {}
_checked: set[str] = set()  # runs whose networks have been built, which no fold changes


def plan(pipeline: Pipeline) -> Path:
    """Write `plan.json` of a run into the job's folder, tell it if the job is alone, and return the file.

    Raises:
        InputError: What the run itself would refuse before it begins to work.
    """
    config = pipeline.config
    if pipeline.run_name not in _checked:
        pipeline.check_networks()
        _checked.add(pipeline.run_name)
    asked = DryRun(pipeline)
    pieces, devices = tuple(asked.pieces()), tuple(config.plan.devices)
    made = Plan(pipeline.title, pipeline.fold, pieces, devices, jobs_at_a_time(), tuple(_probed.values()))
    folder = Path(HydraConfig.get().runtime.output_dir) if HydraConfig.initialized() else pipeline.prepared.output_dir
    write_json(made.to_json(), folder / PLAN_FILE)
    if not in_sweep():
        log.info("%s", told([made]))
    return folder / PLAN_FILE


class DryRun:
    """The pieces of one run.

    Args:
        pipeline: Of the run.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.prepared = pipeline.prepared
        self.selecting = pipeline.selecting
        self.config = pipeline.config
        measured = self.config.plan.measured
        output_dir = self.prepared.output_dir
        self.elsewhere = measured is not None
        on_gpu = torch.cuda.is_available() and self.config.trainer.accelerator != "cpu"
        self.device = device_name(torch.device("cuda" if on_gpu else "cpu"))
        times: list[Time] = []
        if measured is not None or output_dir.is_dir():
            times = _known_times(output_dir if measured is None else Path(measured).expanduser())
        self.measured = Measured(times, self.device)

    def pieces(self) -> list[Piece]:
        """All results that the run needs, in the order in which they are made; the run alone if it is there."""
        if self.pipeline.run.ready:
            return [self._run()]
        if self.pipeline.finetuned is not None:
            return [*DryRun(self.pipeline.finetuned).pieces(), self._run()]
        # Where folds are not made by them, a name of what pretraining sees can be told without the duplicates.
        looked_for = [] if self.prepared.joins_duplicates else [self.prepared.duplicates]
        before = [self._stage(artifact) for artifact in (*self._preparation, *looked_for)]
        if not is_supervised(self.config):
            before.append(self._pretraining())
        return [*before, self._run()]

    @cached_property
    def _preparation(self) -> list[Artifact]:
        selecting, prepared = self.selecting, self.prepared
        needed = [prepared.cells, *([prepared.duplicates] if prepared.joins_duplicates else []), prepared.folds]
        if is_supervised(self.config):
            return needed
        if selecting.strategy is None:
            return [*needed, prepared.slides]
        features = selecting.feature_artifacts() if selecting.needs_features else []
        return [*needed, prepared.regions, *features, selecting.selection]

    def _stage(self, artifact: Artifact) -> Piece:
        stage = artifact.folder.parent.name
        seconds = self.measured.stage(stage, artifact.name.rpartition("-")[0])
        basis = "" if seconds is None else "what it took before"
        return Piece(stage, artifact.name, artifact.ready, seconds, basis=basis)

    def _pretraining(self) -> Piece:
        pretraining, settings = self.pipeline.pretraining, self.pipeline.pretraining.settings
        kind = pretraining_kind(settings)
        if all(artifact.ready for artifact in self._preparation):
            name, ready = pretraining.artifact.name, pretraining.artifact.ready
            number: int | None = len(self.selecting.pretraining_images())
        else:
            images = [self._preparation[-1].name, self.prepared.fold, self.config.selection.name]
            name, ready = f"of-{fingerprint([settings, images])}", False
            number = len(self.prepared.source.slides) if self.selecting.strategy is None else self.config.plan.images
        steps = self._steps("pretraining", number)
        if ready:
            return Piece("pretraining", name, True, None, steps)

        def probe() -> float:
            method = pretraining.method()
            return self._probe(
                method, lambda views: method(views, 0.0), build(self.config.ssl_method.view), "pretraining"
            )

        return self._training("pretraining", name, kind, steps, probe)

    def _run(self) -> Piece:
        pipeline, prepared = self.pipeline, self.prepared
        name = f"{pipeline.run_name}/{pipeline.run.name}"
        if pipeline.run.ready:
            return Piece("run", name, True, None)
        if not pipeline.classification.trains:
            return Piece("run", name, False, None)
        if prepared.cells.ready and prepared.folds.ready:
            number = len(pipeline.classification.cells.training)
        else:
            number = len(prepared.source.cells) * (self.config.data.num_folds - 1) // self.config.data.num_folds

        def probe() -> float:
            network = pipeline.classification.network(None)
            if pipeline.finetuned is not None:
                freeze_backbone(network)
            view = build(self.config.recipe.finetuning.view)
            return self._probe(network, lambda images: network(images).sum(), view, "finetuning")

        kind = finetuning_kind(pipeline.run_inputs)
        return self._training("run", name, kind, self._run_steps(number), probe)

    def _run_steps(self, cells: int) -> int | None:
        if self.pipeline.finetuned is None:
            return self._steps("finetuning", cells)
        recipe = self.config.recipe.finetuning
        return num_steps(cells, recipe.batch_size, recipe.retrain_head, None)

    def _steps(self, stage: str, images: int | None) -> int | None:
        recipe = self.config.recipe[stage]
        if images is None and recipe.steps is None:
            return None
        return num_steps(images or 0, recipe.batch_size, recipe.epochs, recipe.steps)

    def _training(self, stage: str, name: str, kind: Kind, steps: int | None, probe: Callable[[], float]) -> Piece:
        if steps is None:
            basis = "no number of steps (plan.images=N assumes one of images where stage 2 is still to run)"
            return Piece(stage, name, False, None, basis=basis)
        time = self.measured.training(kind)
        if time is not None:
            return Piece(stage, name, False, steps * time.seconds_per_step + time.others, steps, _basis(time))
        if self.elsewhere or not self.config.plan.measure:
            return Piece(stage, name, False, None, steps)
        if kind not in _probed:
            _probed[kind] = training_time(kind, self.device, probe())
        seconds = steps * _probed[kind].seconds_per_step
        return Piece(stage, name, False, seconds, steps, "a few steps on made-up images, here and now")

    def _probe(self, module: nn.Module, loss_of: Callable[[Tensor], Tensor], view: View, stage: str) -> float:
        size = self.config.recipe.image_size
        views = view(np.zeros((size, size, 3), np.uint8), np.random.default_rng(0))
        image = torch.randn(np.moveaxis(views, -1, -3).shape, generator=torch.Generator().manual_seed(0))
        half = "32" not in str(self.config.trainer.precision)
        multiple = getattr(module, "batch_multiple", 1)
        return probe_step(module, loss_of, image, self.config.recipe[stage].batch_size, multiple, half)


def _basis(time: TrainingTime) -> str:
    return f"{time.seconds_per_step:.3g} s a step, as measured on {time.device}"
