"""The processes of one training on one node: started together, watched, ended together.

Lightning would start the others by itself, with the command line of the process that it is in: in a sweep that is the
whole sweep's, under submitit it is submitit's, and a process can lead one such training only. Here each training is
processes of its own, as torchrun would start them, and Lightning finds them started.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from activessf.exits import MISTAKE_STATUS, leaving_on_signals
from activessf.launching.command import COMMAND, PART_OF
from activessf.launching.devices import lease_handles
from activessf.launching.processes import SECONDS_BETWEEN_LOOKS, Process, end, shell_status
from activessf.launching.ranks import without_ranks

_GRACE_SECONDS = 30.0  # for the others, once one has failed
_SECONDS_TO_TELL = 2.0  # for process 0, which may be about to say the same as the one that failed first
_LOOPBACKS = ("lo", "lo0")


def run_team(command: Sequence[str], count: int, folder: Path) -> int:
    """Run a command as the processes of one training; process 0 has the terminal, the others a log file each.

    If one fails the others are ended, and where it was none that has the terminal, its last lines are shown.

    Args:
        command: What each of them runs.
        count: How many, on this node.
        folder: The logs go there, `rank_<i>.log`.

    Returns:
        0, or the exit status of the process that failed first.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # takes a second; most jobs need none

    folder.mkdir(parents=True, exist_ok=True)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # kept here: no port is guessed
    with ExitStack() as stack:
        processes: list[Process] = []
        stack.enter_context(leaving_on_signals())
        stack.callback(end, processes, _GRACE_SECONDS)
        for index in range(count):
            output: Any = None
            if index:
                output = stack.enter_context((folder / f"rank_{index}.log").open("wb"))
            processes.append(
                subprocess.Popen(
                    command,
                    env=_environment(index, count, store.port),
                    stdout=output,
                    stderr=subprocess.STDOUT if index else None,
                    pass_fds=lease_handles(),
                )
            )
        failed = _first_failed(processes)
    if failed is None:
        return 0
    if failed:
        _show_end(folder / f"rank_{failed}.log", failed)
    return shell_status(processes[failed])


def _environment(index: int, count: int, port: int) -> dict[str, str]:
    environment = without_ranks(os.environ)
    loopback = [name for _, name in socket.if_nameindex() if name in _LOOPBACKS]
    if loopback:  # names of hosts need not resolve
        environment.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    return environment | {
        "RANK": str(index),
        "LOCAL_RANK": str(index),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        PART_OF: environment.get(COMMAND, ""),
    }


def _first_failed(processes: Sequence[Process]) -> int | None:
    """Wait until all have ended well, or one has not; of several one that has told its user why."""
    while True:
        statuses = [process.poll() for process in processes]
        failed = [index for index, status in enumerate(statuses) if status]
        if failed:
            if 0 not in failed:
                time.sleep(_SECONDS_TO_TELL)
            told = (index for index, process in enumerate(processes) if process.poll() == MISTAKE_STATUS)
            return next(told, failed[0])
        if None not in statuses:
            return None
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _show_end(log: Path, index: int) -> None:
    lines = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    print(f"process {index} of this training failed ({log}):", *lines[-20:], sep="\n", file=sys.stderr, flush=True)
