"""`hydra/launcher=ray`: the jobs of a sweep on the machines of a Ray cluster.

hydra-ray-launcher would be the plugin for it, but pins a cloudpickle that is years old and pickles the job itself.
"""

# Without `annotations` of __future__: Hydra runs this file before it is in sys.modules, where a dataclass would look.
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class RayLauncherConf:
    """Settings below `hydra.launcher`; conf/hydra/launcher/ray.yaml says what they mean."""

    _target_: str = "hydra_plugins.activessf_launchers.ray_launcher.RayLauncher"
    address: Any = "auto"
    cpus: Any = 1


class RayLauncher(Launcher):
    """Runs each job as a process on a machine of the cluster that has room for it.

    Args:
        address: Of the cluster.
        cpus: CPUs for each device.
    """

    def __init__(self, address: str, cpus: float) -> None:
        self._address = address
        self._cpus = cpus

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See `Launcher`."""
        self._context = hydra_context
        self._config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """See `Launcher`."""
        from activessf.launching import sweeps
        from activessf.launching.cluster import run_on_cluster

        jobs = sweeps.jobs_of(self._context, self._config, job_overrides, initial_job_idx)
        statuses = run_on_cluster(jobs, sweeps.accelerator(self._config), self._address, self._cpus)
        return sweeps.returned(jobs, statuses)


ConfigStore.instance().store(group="hydra/launcher", name="activessf_ray", node=RayLauncherConf, provider="activessf")
