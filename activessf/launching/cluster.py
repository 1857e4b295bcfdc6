"""The jobs of a sweep on the machines of a Ray cluster, which share a file system."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from activessf.errors import InputError
from activessf.launching.command import COMMAND, PART_OF
from activessf.launching.processes import end, shell_status
from activessf.launching.ranks import without_ranks
from activessf.launching.sweeps import OUTPUT_FILE, Job

log = logging.getLogger(__name__)

_GRACE_SECONDS = 45.0  # longer than a job gives its own processes
_LOST = 1  # status of a job whose machine is gone for good
_TOLD = ("ACTIVESSF_", "WANDB_", "HF_", "PYTHONPATH")  # beginnings of the variables that a job takes along


def run_on_cluster(jobs: Sequence[Job], accelerator: str, address: str, cpus: float) -> list[int]:
    """Run jobs as processes wherever Ray has room for them; one that fails does not stop the others.

    A job whose machine is lost is started again on another, where it goes on from its newest checkpoint.

    Args:
        jobs: The jobs.
        accelerator: That of the trainer: but for "cpu", a device is a GPU where the cluster has any.
        address: Of the cluster; "auto" = the one that this machine belongs to.
        cpus: CPUs for each device.

    Returns:
        Exit status of each.

    Raises:
        InputError: Ray is not installed, there is no cluster, or a job asks for more than it has.
    """
    ray = _ray()
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        raise InputError(
            f"There is no Ray cluster at hydra.launcher.address={address}; start one: ray start --head here, ray start "
            "--address=HOST:PORT on the others."
        ) from error
    try:
        gpus = accelerator != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
        asked = [_resources(job, gpus, cpus) for job in jobs]
        _check(jobs, asked, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        told = {name: value for name, value in os.environ.items() if name.startswith(_TOLD)}
        told[PART_OF] = os.environ.get(COMMAND, "")
        remote = ray.remote(_run)
        running = {}
        for job, resources in zip(jobs, asked, strict=True):
            options = {**resources, "max_retries": 3, "runtime_env": {"env_vars": {"PYTHONPATH": told["PYTHONPATH"]}}}
            running[remote.options(**options).remote(list(job.command), told, str(job.folder))] = job
            log.info("%s writes into %s", job.told(), job.folder / OUTPUT_FILE)
        statuses = _collected(ray, running)
    finally:
        ray.shutdown()
    return [statuses[job.number] for job in jobs]


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError("hydra/launcher=ray needs Ray; install it: pip install -e '.[ray]'.") from error
    return ray


def _resources(job: Job, gpus: bool, cpus: float) -> dict[str, float]:
    if job.needs is None:
        raise InputError(f"{job.told()} asks for all devices; give their number, trainer.devices=N.")
    return {"num_gpus": job.needs if gpus else 0, "num_cpus": job.needs * cpus}


def _check(jobs: Sequence[Job], asked: Sequence[Mapping[str, float]], nodes: Sequence[Mapping[str, float]]) -> None:
    """Refuse what Ray would wait for, for ever: more than any of the machines has."""
    for job, resources in zip(jobs, asked, strict=True):
        gpus, cpus = resources["num_gpus"], resources["num_cpus"]
        if not any(node.get("GPU", 0) >= gpus and node.get("CPU", 0) >= cpus for node in nodes):
            raise InputError(
                f"{job.told()} asks for {gpus:g} GPUs and {cpus:g} CPUs of a machine, and none of the cluster's "
                f"{len(nodes)} has so many; lower trainer.devices or hydra.launcher.cpus."
            )


def _collected(ray: Any, running: dict[Any, Job]) -> dict[int, int]:
    """Exit status of each job, waited for."""
    statuses = {}
    waiting = list(running)
    try:
        while waiting:
            (done,), waiting = ray.wait(waiting, num_returns=1)
            job = running[done]
            try:
                statuses[job.number] = int(ray.get(done))
            except ray.exceptions.RayError as error:
                log.error("%s was lost: %s", job.told(), error)
                statuses[job.number] = _LOST
            log.info("%s: %s", "failed" if statuses[job.number] else "done", job.told())
    except BaseException:
        for reference in waiting:
            ray.cancel(reference)
        ray.wait(waiting, num_returns=len(waiting), timeout=_GRACE_SECONDS)
        raise
    return statuses


def _run(command: list[str], told: dict[str, str], folder: str) -> int:
    """Run a job's process, on whatever machine this is; CUDA_VISIBLE_DEVICES is Ray's."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    with (place / OUTPUT_FILE).open("ab") as output:  # a job that begins again goes on in it
        process = subprocess.Popen(
            command, env=without_ranks(os.environ) | told, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        process.wait()
    finally:
        end([process], _GRACE_SECONDS)
    return shell_status(process)
