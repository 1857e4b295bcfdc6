"""Stage 3 on files: images in, encoder weights out."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from activessf.data.datasets import View
from activessf.manifests import write_json
from activessf.methods.method import SelfSupervisedMethod
from activessf.training.compilation import compile_blocks
from activessf.training.running import Runner, say_if_long

log = logging.getLogger(__name__)

ENCODER_FILE = "encoder.safetensors"
SUMMARY_FILE = "summary.json"


def pretrain(
    method: SelfSupervisedMethod,
    images: Sequence[Path],
    view: View,
    runner: Runner,
    name: str,
    folder: Path,
    compiled: bool = False,
) -> None:
    """Write `encoder.safetensors`, `summary.json` (images, steps, seconds) and `history/` into `folder`.

    Args:
        method: A method with its optimization set.
        images: Files of regions or slides.
        view: Makes the views.
        runner: Trains.
        name: The method's name, for messages.
        folder: An existing folder.
        compiled: Whether its blocks are compiled, see `compile_blocks`.
    """
    dataset = runner.images(images, None, view)
    batch_size, steps = method.optimization.batch_size, method.optimization.total_steps
    method.check_batch(batch_size)
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
    seconds = runner.fit(method, dataset, batch_size, steps, folder, "Pretraining")
    save_file({key: value.contiguous() for key, value in method.encoder.state_dict().items()}, folder / ENCODER_FILE)
    write_json({"images": len(images), "steps": steps, "seconds": seconds}, folder / SUMMARY_FILE)
