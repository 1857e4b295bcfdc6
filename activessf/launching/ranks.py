"""Which of the processes of one training this is; torchrun, srun and `team` each say it in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from activessf.errors import InputError

# What says which rank a process has, and what Lightning leaves behind for its children.
RANK_VARIABLES = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE", "PL_GLOBAL_SEED", "PL_SEED_WORKERS"),
)
_FIRST_PORT, _PORTS = 15_000, 10_000


@dataclass(frozen=True)
class Rank:
    """A process among those of one training.

    Attributes:
        index: 0 .. count - 1; process 0 writes the results.
        count: How many there are.
        local_count: How many of them run on a node.
    """

    index: int
    count: int
    local_count: int

    @property
    def num_nodes(self) -> int:
        """Nodes that they run on."""
        return self.count // self.local_count


ALONE = Rank(0, 1, 1)


def own_rank(environment: Mapping[str, str] = os.environ) -> Rank:
    """The rank of this process; `ALONE` where nobody says that there are others.

    Raises:
        InputError: The tasks of an srun are not spread evenly over its nodes.
    """
    if int(environment.get("WORLD_SIZE", 1)) > 1 and "RANK" in environment:
        count = int(environment["WORLD_SIZE"])
        return Rank(int(environment["RANK"]), count, int(environment.get("LOCAL_WORLD_SIZE", count)))
    # Of the job step, which srun sets: a batch script that starts python itself has SLURM_NTASKS, too.
    count = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    if count > 1 and "SLURM_PROCID" in environment:
        nodes = int(environment.get("SLURM_STEP_NUM_NODES", 1))
        if count % nodes:
            raise InputError(f"srun has {count} tasks on {nodes} nodes; give each node as many (--ntasks-per-node).")
        return Rank(int(environment["SLURM_PROCID"]), count, count // nodes)
    return ALONE


def say_as_torchrun(environment: MutableMapping[str, str] = os.environ) -> None:
    """Say what srun has said in torchrun's words, which PyTorch and Lightning read; those of torchrun stay."""
    rank = own_rank(environment)
    if rank.count == 1 or "RANK" in environment:
        return
    from pytorch_lightning.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]

    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST") or "127.0.0.1"
    # By job and step, so that two trainings on a node don't meet.
    number = int(environment.get("SLURM_JOB_ID", 0)) * 7 + int(environment.get("SLURM_STEP_ID", 0))
    said = {
        "RANK": rank.index,
        "WORLD_SIZE": rank.count,
        "LOCAL_RANK": environment.get("SLURM_LOCALID", rank.index % rank.local_count),
        "LOCAL_WORLD_SIZE": rank.local_count,
        "GROUP_RANK": environment.get("SLURM_NODEID", rank.index // rank.local_count),
        "MASTER_ADDR": environment.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes),
        "MASTER_PORT": environment.get("MASTER_PORT") or _FIRST_PORT + number % _PORTS,
    }
    environment.update({name: str(value) for name, value in said.items()})


def without_ranks(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that belongs to no training yet."""
    return {
        name: value
        for name, value in environment.items()
        if name not in RANK_VARIABLES and name not in ("SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES")
    }
