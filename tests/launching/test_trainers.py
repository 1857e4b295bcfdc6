from functools import partial

import pytest
import torch
from lightning_utilities.core.rank_zero import rank_zero_only as utilities_rank_zero_only
from pytorch_lightning import Trainer
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from activessf.errors import InputError
from activessf.launching.trainers import num_devices, with_ranks

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


@pytest.mark.parametrize("devices", [1, 2, 3, "2"])
def test_the_number_of_devices_is_that_of_the_trainer(devices):
    assert num_devices(partial(Trainer, accelerator="cpu", devices=devices)) == int(devices)


@pytest.mark.parametrize("devices", [0, "many"])
def test_devices_that_cannot_be_had_are_a_sentence(devices):
    with pytest.raises(InputError, match=rf"trainer\.devices={devices} can't be had here: "):
        num_devices(partial(Trainer, accelerator="cpu", devices=devices))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_a_sentence():
    with pytest.raises(InputError, match="can't be had here"):
        num_devices(partial(Trainer, accelerator="gpu", devices=1))


def test_a_precision_of_gpus_is_refused_on_a_cpu():
    with pytest.raises(InputError, match=r"trainer\.precision=16-mixed is for a GPU; on a CPU use bf16-mixed"):
        num_devices(partial(Trainer, accelerator="cpu", devices=1, precision="16-mixed"))
    assert num_devices(partial(Trainer, accelerator="cpu", devices=1, precision="bf16-mixed")) == 1


def test_nodes_are_not_asked_for_here():
    with pytest.raises(InputError, match="by srun or torchrun"):
        num_devices(partial(Trainer, accelerator="cpu", devices=1, num_nodes=2))


def test_a_process_that_is_alone_is_so_within_an_allocation_of_slurm(monkeypatch):
    for name, value in {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    trainer = with_ranks(partial(Trainer, accelerator="cpu", devices=1))(**QUIET)
    assert trainer.world_size == 1
    assert isinstance(trainer._accelerator_connector.cluster_environment, LightningEnvironment)


def test_a_process_of_several_has_a_trainer_of_all_whatever_devices_says(monkeypatch):
    said = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "LOCAL_RANK": "1", "GROUP_RANK": "1"}
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    for of_lightning in (rank_zero_only, utilities_rank_zero_only):  # it sets them, and nobody would set them back
        monkeypatch.setattr(of_lightning, "rank", 0)
    trainer = with_ranks(partial(Trainer, accelerator="cpu", devices=1))(**QUIET)
    assert (trainer.world_size, trainer.num_nodes, trainer.num_devices) == (8, 2, 4)
    assert trainer.global_rank == 5 and isinstance(trainer.strategy, DDPStrategy)
    assert trainer.strategy.launcher is not None
    assert trainer.strategy.cluster_environment.creates_processes_externally
