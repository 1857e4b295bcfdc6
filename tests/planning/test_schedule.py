from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activessf.planning.schedule import Cost, makespan, total_seconds


def played(jobs: Sequence[Sequence[Cost]], devices: int) -> int:
    """The same, second by second: a world in which nothing is foreseen."""
    queue, now = [list(job) for job in jobs], 0
    at: list[list[Cost] | None] = [None] * devices
    left: dict[str, float] = {}
    maker: dict[str, int] = {}
    while True:
        moved = True
        while moved:  # all that takes no time
            moved = False
            for device in range(devices):
                job = at[device]
                if job is None and queue:
                    at[device], moved = queue.pop(0), True
                elif job == []:
                    at[device], moved = None, True
                elif job:
                    piece = job[0]
                    if piece.name not in left:
                        left[piece.name], maker[piece.name], moved = piece.seconds, device, True
                    if left[piece.name] == 0:
                        job.pop(0)
                        moved = True
        if not queue and all(job is None for job in at):
            return now
        now += 1
        for device, job in enumerate(at):
            if job and maker[job[0].name] == device:
                left[job[0].name] -= 1


@st.composite
def sweeps(draw: st.DrawFn) -> list[list[Cost]]:
    """Jobs of up to four pieces of up to six kinds; a piece costs the same for all, and comes at the same place."""
    seconds = draw(st.lists(st.integers(0, 5), min_size=6, max_size=6))
    chosen = draw(st.lists(st.lists(st.integers(0, 5), max_size=4, unique=True), max_size=7))
    return [[Cost(str(kind), seconds[kind]) for kind in sorted(kinds)] for kinds in chosen]


@given(sweeps(), st.integers(1, 4))
def test_the_schedule_is_what_happens_if_it_is_played(jobs, devices):
    assert makespan(jobs, devices) == played(jobs, devices)


@given(sweeps(), st.integers(1, 9))
def test_one_device_takes_the_sum_and_more_lie_between_the_longest_piece_and_it(jobs, devices):
    total = total_seconds(jobs)
    assert makespan(jobs, 1) == total
    longest = max((piece.seconds for job in jobs for piece in job), default=0)
    assert max(longest, total / devices) <= makespan(jobs, devices) <= total


def test_five_folds_that_share_their_regions():
    # 10 s of regions, then 6 s of training each: by hand.
    jobs = [[Cost("regions", 10), Cost(f"run{fold}", 6)] for fold in range(5)]
    assert total_seconds(jobs) == 40
    assert [makespan(jobs, devices) for devices in (1, 2, 3, 5, 64)] == [40, 28, 22, 16, 16]


@pytest.mark.parametrize("devices", [1, 8])
def test_nothing_takes_no_time(devices):
    assert makespan([], devices) == 0 == total_seconds([])
