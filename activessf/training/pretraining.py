"""Stage 3 on files: images in, encoder weights out."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback

from activessf.checkpoints.heads import save_network
from activessf.data.datasets import ImageFiles, View
from activessf.manifests import read_table, write_json
from activessf.methods.method import SelfSupervisedMethod
from activessf.training.compilation import compile_blocks
from activessf.training.resuming import Checkpoints
from activessf.training.running import HISTORY_FILE, Runner, say_if_long
from activessf.training.watching.curves import CURVES_FILE, draw_curves
from activessf.training.watching.feature_probe import FeatureProbe, LabeledCells
from activessf.training.watching.looking import PROBE_FILE, Look, Looking
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
    checkpoints: Checkpoints,
    watched: Watched,
    compiled: bool = False,
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
        checkpoints: Where those of the training are.
        watched: What is watched.
        compiled: Whether its blocks are compiled, see `compile_blocks`.
    """
    dataset = runner.images(images, None, view)
    batch_size, steps = method.optimization.batch_size, method.optimization.total_steps
    # Of a copy, since a step may leave traces: running statistics, a momentum network.
    say_if_long(
        lambda views: copy.deepcopy(method)(views, 0.0),
        dataset,
        batch_size,
        steps,
        "Pretraining",
        method.batch_multiple,
    )
    if compiled:
        log.info("Compiling %d blocks; the first step takes longer.", compile_blocks(method))
    log.info("Pretraining %s on %d images, %d steps.", name, len(images), steps)
    callbacks = _watching(watched, dataset, batch_size, steps, runner.num_workers, folder)
    seconds = runner.fit(method, dataset, batch_size, steps, folder, "Pretraining", checkpoints, callbacks)
    save_network(method.encoder, folder / ENCODER_FILE)
    summary: dict[str, Any] = {"images": len(images), "steps": steps, "seconds": seconds, "probe": None}
    if (folder / PROBE_FILE).is_file():
        last = read_table(folder / PROBE_FILE, ["step"]).to_dict("records")[-1]
        summary["probe"] = {"fold": watched.cells.fold, **last}
    write_json(summary, folder / SUMMARY_FILE)
    if (folder / HISTORY_FILE).is_file():  # there is none if a training is shorter than the logging interval
        draw_curves(folder / HISTORY_FILE, folder / CURVES_FILE)


def _watching(
    watched: Watched, images: ImageFiles, batch_size: int, steps: int, num_workers: int, folder: Path
) -> list[Callback]:
    watch, throughput, looks = watched.watch, Throughput(), list[Look]()
    if watch.probe:
        looks.append(FeatureProbe(watched.cells, watch, batch_size, num_workers))
    if watch.num_images:
        looks.append(Reconstructions(images, watch.num_images))
    between = watch.steps_between(len(images), batch_size)
    if between is None or not looks:
        return [throughput]
    return [throughput, Looking(looks, between, steps, throughput.paused, folder)]
