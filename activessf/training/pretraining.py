"""Stage 3 on files: images in, encoder weights out."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytorch_lightning.callbacks import Callback
from safetensors.torch import save_file

from activessf.data.datasets import ImageFiles, View
from activessf.manifests import write_json
from activessf.methods.method import SelfSupervisedMethod
from activessf.training.running import HISTORY_FILE, Runner, say_if_long
from activessf.training.watching.curves import CURVES_FILE, draw_curves
from activessf.training.watching.feature_probe import FeatureProbe, LabeledCells
from activessf.training.watching.looking import Look, Looking
from activessf.training.watching.reconstructions import Reconstructions
from activessf.training.watching.settings import Watch
from activessf.training.watching.throughput import Throughput

log = logging.getLogger(__name__)

ENCODER_FILE = "encoder.safetensors"
SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class Watched:
    """What is watched while a method is pretrained; nothing of it reaches the encoder.

    Attributes:
        watch: How closely.
        cells: Labeled cells of the training folds, for the probe.
    """

    watch: Watch
    cells: LabeledCells


def pretrain(
    method: SelfSupervisedMethod,
    images: Sequence[Path],
    view: View,
    runner: Runner,
    name: str,
    folder: Path,
    watched: Watched,
) -> None:
    """Write `encoder.safetensors`, `summary.json` (images, steps, seconds, last probe) and `history/` into `folder`.

    As far as it is watched, also `curves.png`, `probe.csv` and `reconstructions/step_XXXXXX.png`.

    Args:
        method: A method with its optimization set.
        images: Files of regions or slides.
        view: Makes the views.
        runner: Trains.
        name: The method's name, for messages.
        folder: An existing folder.
        watched: What is watched.
    """
    dataset = runner.images(images, None, view)
    batch_size, steps = method.optimization.batch_size, method.optimization.total_steps
    method.check_batch(batch_size)
    # Of a copy, since a step may leave traces: running statistics, a momentum network.
    say_if_long(lambda views: copy.deepcopy(method)(views, 0.0), dataset, batch_size, steps, "Pretraining")
    log.info("Pretraining %s on %d images, %d steps.", name, len(images), steps)
    probe = _probe(watched, batch_size, runner, folder)
    callbacks = _callbacks(watched.watch, probe, dataset, batch_size, steps, folder)
    seconds = runner.fit(method, dataset, batch_size, steps, folder, "Pretraining", callbacks)
    save_file({key: value.contiguous() for key, value in method.encoder.state_dict().items()}, folder / ENCODER_FILE)
    found = {"fold": watched.cells.fold, **probe.rows[-1]} if probe is not None and probe.rows else None
    write_json({"images": len(images), "steps": steps, "seconds": seconds, "probe": found}, folder / SUMMARY_FILE)
    if (folder / HISTORY_FILE).is_file():  # there is none if a training is shorter than the logging interval
        draw_curves(folder / HISTORY_FILE, folder / CURVES_FILE)


def _probe(watched: Watched, batch_size: int, runner: Runner, folder: Path) -> FeatureProbe | None:
    if not watched.watch.probe:
        return None
    return FeatureProbe(watched.cells, watched.watch, batch_size, runner.num_workers, folder)


def _callbacks(
    watch: Watch, probe: FeatureProbe | None, images: ImageFiles, batch_size: int, steps: int, folder: Path
) -> list[Callback]:
    throughput = Throughput()
    looks: list[Look] = [] if probe is None else [probe]
    if watch.num_images:
        looks.append(Reconstructions(images, watch.num_images, folder))
    between = watch.steps_between(len(images), batch_size)
    if between is None or not looks:
        return [throughput]
    return [throughput, Looking(looks, between, steps, throughput.paused)]
