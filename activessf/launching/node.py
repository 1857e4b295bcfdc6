"""Jobs side by side on one node: no device idle while a job could use it, and none with two jobs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from activessf.errors import InputError
from activessf.exits import leaving_on_signals
from activessf.launching.command import AT_A_TIME, COMMAND, PART_OF
from activessf.launching.devices import Lease, Leases, node_pool
from activessf.launching.processes import SECONDS_BETWEEN_LOOKS, Process, end, shell_status
from activessf.launching.ranks import without_ranks
from activessf.launching.sweeps import OUTPUT_FILE, Job

log = logging.getLogger(__name__)

LEASES_FILE = "leases.csv"
_GRACE_SECONDS = 45.0  # longer than a job gives its own processes
_LAST_LINES = 5


def run_on_node(
    jobs: Sequence[Job],
    accelerator: str,
    devices: Sequence[str | int] | None,
    n_jobs: int | None,
    leases: str | None,
    folder: Path,
) -> list[int]:
    """Run jobs, each as a process on leased devices of this node; one that fails does not stop the others.

    Args:
        jobs: The jobs; they start in this order, but one that needs fewer devices may overtake.
        accelerator: That of the trainer.
        devices: GPUs that may be used; None = all that are visible.
        n_jobs: Most jobs side by side; None = as many as there are devices.
        leases: Folder of the lock files; None = the node's.
        folder: The sweep's; `leases.csv` there notes who had what when.

    Returns:
        Exit status of each.

    Raises:
        InputError: A job needs more devices than there are.
    """
    pool = node_pool(accelerator, devices, n_jobs)
    for job in jobs:
        if (job.needs or 1) > len(pool.names):
            raise InputError(
                f"{job.told()} asks for {job.needs} devices, and there are {len(pool.names)} here; lower "
                "trainer.devices, or leave it away."
            )
    folder.mkdir(parents=True, exist_ok=True)
    running = _Running(Leases(pool, None if leases is None else Path(leases)), folder / LEASES_FILE, n_jobs)
    waiting, statuses = list(jobs), dict[int, int]()
    where = folder / "*" / OUTPUT_FILE
    log.info("%d jobs; %d x %s; they write into %s", len(jobs), len(pool.names), _named(pool.kind), where)
    with ExitStack() as stack:
        stack.enter_context(leaving_on_signals())
        stack.callback(running.end)
        while waiting or running.jobs:
            statuses |= running.ended()
            started = [job for job in waiting if running.may_start() and running.start(job)]
            waiting = [job for job in waiting if job not in started]
            running.tell_if_idle(bool(waiting))
            time.sleep(SECONDS_BETWEEN_LOOKS)
    return [statuses[job.number] for job in jobs]


@dataclass
class _Running:
    """The jobs that run, and their devices."""

    leases: Leases
    noted: Path
    most: int | None
    jobs: dict[int, tuple[Job, Process, Lease]] = field(default_factory=dict)
    told: bool = False

    def may_start(self) -> bool:
        return self.most is None or len(self.jobs) < self.most

    def start(self, job: Job) -> bool:
        """Start a job, if its devices can be had."""
        there = len(self.leases.pool.names)
        needs = there if job.needs is None else job.needs
        lease = self.leases.take(needs)
        if lease is None:
            return False
        at_a_time = min(there // needs, self.most or there)
        told = {PART_OF: os.environ.get(COMMAND, ""), AT_A_TIME: str(at_a_time)}
        environment = without_ranks(os.environ) | lease.environment() | told
        job.folder.mkdir(parents=True, exist_ok=True)
        with (job.folder / OUTPUT_FILE).open("wb") as output:
            process = subprocess.Popen(
                job.command, env=environment, stdout=output, stderr=subprocess.STDOUT, pass_fds=lease.handles
            )
        self.jobs[job.number] = job, process, lease
        log.info("%s %s: %s", _named(lease.pool.kind), ",".join(lease.names), job.told())
        self._note("leased", job, lease)
        return True

    def ended(self) -> dict[int, int]:
        """Exit status of the jobs that have ended since; their devices are free."""
        statuses = {}
        for number, (job, process, lease) in list(self.jobs.items()):
            if process.poll() is not None:
                self._note("freed", job, lease)
                lease.let_go()
                del self.jobs[number]
                statuses[number] = shell_status(process)
                _tell_end(job, statuses[number])
        return statuses

    def end(self) -> None:
        """End those that still run."""
        end([process for _, process, _ in self.jobs.values()], _GRACE_SECONDS)
        for job, _, lease in self.jobs.values():
            self._note("freed", job, lease)
            lease.let_go()

    def tell_if_idle(self, waiting: bool) -> None:
        """Say once why nothing happens."""
        if waiting and not self.jobs and not self.told:
            log.info("All devices that a job needs are leased by another sweep; waiting for them.")
            self.told = True

    def _note(self, what: str, job: Job, lease: Lease) -> None:
        new = not self.noted.exists()
        with self.noted.open("a", encoding="utf-8") as file:
            if new:
                file.write("seconds,event,job,kind,device\n")
            now = time.time()
            file.writelines(f"{now:.3f},{what},{job.number},{lease.pool.kind},{name}\n" for name in lease.names)


def _named(kind: str) -> str:
    return "GPU" if kind == "gpu" else "share of the CPU"


def _tell_end(job: Job, status: int) -> None:
    if not status:
        log.info("done: %s", job.told())
        return
    lines = (job.folder / OUTPUT_FILE).read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    print(
        f"{job.told()} has failed with status {status}:", *lines[-_LAST_LINES:], sep="\n", file=sys.stderr, flush=True
    )
