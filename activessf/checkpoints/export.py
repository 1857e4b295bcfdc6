"""A trained network as one safetensors file that timm takes: `python -m activessf.checkpoints.export --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from activessf.checkpoints.heads import SUFFIX, save_network
from activessf.checkpoints.results import TrainedNetwork, trained_network
from activessf.errors import InputError
from activessf.exits import telling_mistakes
from activessf.manifests import replacing

_EXAMPLES = """\
examples:
  python -m activessf.checkpoints.export outputs/runs/NAME/fold_0 --output cells.safetensors
      the classifier of fold 0
  python -m activessf.checkpoints.export outputs/stages/pretraining/NAME --output encoder.safetensors
      the encoder that a pretraining made; a run's run.json names its pretraining

The file holds named tensors and nothing else. The command loads it again by timm.create_model, compares the outputs,
and prints the line of Python that does so. Encoders that timm lacks (ConvViT, MixMIM) are written with the names of
their published code. backbone.checkpoint=FILE starts another training from such a file.
"""


@telling_mistakes
def main(arguments: Sequence[str] | None = None) -> int:
    """Export what the command line names; returns the exit status."""
    options = _parser().parse_args(arguments)
    print(export(options.folder, options.output, options.overwrite))
    return 0


def export(folder: Path, output: Path, overwrite: bool = False) -> str:
    """Write the network of a result folder into one file.

    Args:
        folder: A run's fold or a pretraining, see `results.trained_network`.
        output: A safetensors file to write.
        overwrite: Whether it may be there already.

    Returns:
        What was written and how to load it, as text.

    Raises:
        InputError: The folder holds no network, or the file can't be written.
    """
    if output.suffix != SUFFIX:
        raise InputError(f"--output={output} must end in {SUFFIX}, by which timm knows how to read it.")
    if output.exists() and not overwrite:
        raise InputError(f"{output} is there already; name another file, or add --overwrite.")
    found = trained_network(folder)
    network = found.build()
    try:
        with replacing(output) as temporary:
            save_network(network, temporary)
            if found.is_of_timm:
                _check(network, _by_timm(found, temporary))
    except OSError as error:
        raise InputError(f"{output} can't be written ({error.strerror}); name another file.") from error
    return "\n".join(_told(found, output))


def _by_timm(found: TrainedNetwork, path: Path) -> nn.Module:
    network: nn.Module = timm.create_model(**found.constructor, checkpoint_path=str(path))
    return network.eval()


@torch.inference_mode()
def _check(network: nn.Module, loaded: nn.Module) -> None:
    """Check that timm has made the same network: the same tensors and, of an image of noise, the same outputs."""
    own, others = network.state_dict(), loaded.state_dict()
    assert own.keys() == others.keys() and all(torch.equal(own[name], others[name]) for name in own)
    side = getattr(getattr(network, "patch_embed", None), "img_size", (64, 64))[0]
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(image), loaded(image))


def _told(found: TrainedNetwork, output: Path) -> list[str]:
    size = found.settings.get("img_size")
    lines = [
        f"Wrote {output}. Images: RGB, {f'{size} x {size} pixels, ' if size else ''}ImageNet's mean and deviation."
    ]
    if found.classes:
        lines.append(f"Outputs: {', '.join(found.classes)}.")
    if found.is_of_timm:
        given = dict(found.constructor)
        name = given.pop("model_name")
        lines += ["timm loads it:", f"timm.create_model({_call([repr(name)], given, output)})"]
    else:
        target = str(found.settings["_target_"])
        lines += [
            f"timm has no {target.rpartition('.')[2]}: the names are those of the published code. It is loaded by",
            f"network = {target}({_call([], found.constructor)})",
            f"network.load_state_dict(safetensors.torch.load_file({str(output)!r}))",
        ]
    return lines


def _call(first: list[str], given: dict[str, Any], output: Path | None = None) -> str:
    last = [] if output is None else [f"checkpoint_path={str(output)!r}"]
    return ", ".join([*first, *(f"{key}={value!r}" for key, value in given.items() if value is not None), *last])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m activessf.checkpoints.export",
        description="Write a trained network into one file that timm.create_model(..., checkpoint_path=FILE) takes.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder",
        type=Path,
        metavar="RUN_OR_ENCODER",
        help="a run's fold, outputs/runs/NAME/fold_K, or a pretraining, outputs/stages/pretraining/NAME",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=f"where to write; ends in {SUFFIX}")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
