"""Trainers as the processes of a training need them."""

from __future__ import annotations

from functools import partial
from typing import Any

from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer

from activessf.errors import InputError
from activessf.launching.ranks import own_rank, say_as_torchrun


def num_devices(make_trainer: partial[Trainer]) -> int:
    """Devices that a training is to have.

    Raises:
        InputError: There are not so many here, it asks for several nodes, or for a precision that they don't have.
    """
    devices = make_trainer.keywords.get("devices", "auto")
    if make_trainer.keywords.get("num_nodes", 1) != 1:
        raise InputError(
            "trainer.num_nodes is not for this: start a process for each device of each node, by srun or torchrun; "
            "their number is then found."
        )
    try:
        trainer = make_trainer(
            plugins=[LightningEnvironment()], logger=False, enable_checkpointing=False, enable_progress_bar=False
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"trainer.devices={devices} can't be had here: {reason}.") from error
    precision = str(make_trainer.keywords.get("precision", ""))
    if precision.startswith("16") and trainer.strategy.root_device.type == "cpu":
        # Lightning would train in bfloat16, and say so in a warning alone.
        raise InputError(f"trainer.precision={precision} is for a GPU; on a CPU use bf16-mixed or 32-true.")
    return int(trainer.num_devices)


def with_ranks(make_trainer: partial[Trainer]) -> partial[Trainer]:
    """Trainers that know the other processes of this training; of one that is alone, that know of no others.

    How many processes there are and where is decided by who has started them, whatever `devices` says.
    """
    rank = own_rank()
    if rank.count == 1:
        # Not left to be guessed: within an allocation of SLURM Lightning would look for tasks that there are not.
        return partial(make_trainer, plugins=[LightningEnvironment()])
    say_as_torchrun()
    changed: dict[str, Any] = {"num_nodes": rank.num_nodes, "plugins": [TorchElasticEnvironment()]}
    devices = make_trainer.keywords.get("devices")
    if not isinstance(devices, list | tuple) or len(devices) != rank.local_count:
        changed["devices"] = rank.local_count
    if make_trainer.keywords.get("strategy", "auto") == "auto":
        changed["strategy"] = "ddp"
    return partial(make_trainer, **changed)
