"""How long jobs take that share pieces, on so many devices: what the launchers do, played through."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Cost(NamedTuple):
    """A piece of a job.

    Attributes:
        name: Jobs that name the same piece share it.
        seconds: What making it costs; 0 if it is there.
    """

    name: str
    seconds: float


def total_seconds(jobs: Sequence[Sequence[Cost]]) -> float:
    """Seconds of all pieces, each made once."""
    return sum({piece.name: piece.seconds for job in jobs for piece in job}.values())


def makespan(jobs: Sequence[Sequence[Cost]], devices: int) -> float:
    """Seconds until the last job is done.

    A device that is free takes the next job. A job makes its pieces in their order; of one that another job has made it
    pays nothing, for one that another job is making it waits, its device with it.

    Args:
        jobs: The pieces of each, in the order in which they are made.
        devices: Jobs at a time, 1 or more.
    """
    queue = iter(jobs)
    done_at: dict[str, float] = {}
    # Whoever is first at a piece makes it, so the device that is earliest always comes next.
    moments: list[tuple[float, int, Iterator[Cost]]] = [(0.0, device, iter(())) for device in range(devices)]
    end = 0.0
    while moments:
        now, device, pieces = heapq.heappop(moments)
        piece = next(pieces, None)
        if piece is None:
            end = max(end, now)
            job = next(queue, None)
            if job is not None:
                heapq.heappush(moments, (now, device, iter(job)))
            continue
        if piece.name not in done_at:
            done_at[piece.name] = now + piece.seconds
        heapq.heappush(moments, (max(now, done_at[piece.name]), device, pieces))
    return end
