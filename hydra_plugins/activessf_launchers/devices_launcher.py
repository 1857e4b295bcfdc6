"""`hydra/launcher=devices`: the jobs of a sweep side by side on one node, each on devices of its own."""

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
class DevicesLauncherConf:
    """Settings below `hydra.launcher`; conf/hydra/launcher/devices.yaml says what they mean."""

    _target_: str = "hydra_plugins.activessf_launchers.devices_launcher.DevicesLauncher"
    devices: Any = None
    n_jobs: Any = None
    leases: Any = None


class DevicesLauncher(Launcher):
    """Runs each job as a process that has leased what `trainer.devices` asks for.

    Args:
        devices: GPUs that may be used; None = all that are visible.
        n_jobs: Most jobs side by side; None = as many as there are devices.
        leases: Folder of the leases; None = the node's.
    """

    def __init__(self, devices: Sequence[str | int] | None, n_jobs: int | None, leases: str | None) -> None:
        self._devices = devices
        self._n_jobs = n_jobs
        self._leases = leases

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See `Launcher`."""
        self._context = hydra_context
        self._config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """See `Launcher`."""
        # Hydra imports all plugins for every command; what is slow to import waits until it is needed.
        from activessf.launching import sweeps
        from activessf.launching.node import run_on_node

        jobs = sweeps.jobs_of(self._context, self._config, job_overrides, initial_job_idx)
        statuses = run_on_node(
            jobs,
            sweeps.accelerator(self._config),
            self._devices,
            self._n_jobs,
            self._leases,
            sweeps.folder(self._config),
        )
        return sweeps.returned(jobs, statuses)


ConfigStore.instance().store(
    group="hydra/launcher", name="activessf_devices", node=DevicesLauncherConf, provider="activessf"
)
