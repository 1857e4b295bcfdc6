"""Work on many items in processes: results in order, constant memory, and a process that dies costs one item."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

Item = TypeVar("Item")
Result = TypeVar("Result")

# So many items a worker are handed out ahead of the one whose result is waited for.
_AHEAD = 8


def in_order(
    process: Callable[[Item], Result],
    items: Iterable[Item],
    num_workers: int,
    died: Callable[[Item], Result],
) -> Iterator[Result]:
    """Results in the order of the items, whatever the number of processes.

    An item whose process dies, of a crash in a decoder or for want of memory, is tried again in a process of its own;
    if that dies too, `died` gives its result and the others go on.

    Args:
        process: Can be pickled, as can items and results.
        items: Read only as far as they are worked on.
        num_workers: Processes; 0: this one, which a crash takes along.
        died: The result of an item that can't be worked on.

    Raises:
        Exception: Whatever `process` raises; nothing more is begun then.
    """
    if num_workers == 0:
        with threadpool_limits(1):
            yield from map(process, items)
        return
    pool = _pool(num_workers)
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    rest = iter(items)
    try:
        for item in rest:
            waiting.append((item, _submitted(pool, process, item)))
            if len(waiting) < _AHEAD * num_workers:
                continue
            if _broken(waiting[0][1]):
                pool = _restarted(pool, process, waiting, num_workers, died)
            yield waiting.popleft()[1].result()
        while waiting:
            if _broken(waiting[0][1]):
                pool = _restarted(pool, process, waiting, num_workers, died)
            yield waiting.popleft()[1].result()
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(num_workers: int) -> ProcessPoolExecutor:
    # A forked child can hang in an OpenMP or OpenCV call if the parent has used those threads; a spawned one can't.
    return ProcessPoolExecutor(num_workers, mp_context=get_context("spawn"), initializer=_prepare_worker)


def _prepare_worker() -> None:
    """One thread for K-means, so that sums have one order on every machine; the parent alone answers Ctrl-C."""
    threadpool_limits(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A worker that waits for work holds both ends of its queue, so it would outlive a parent that was killed.
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _submitted(pool: ProcessPoolExecutor, process: Callable[[Item], Result], item: Item) -> Future[Result]:
    """The item's future; where a process has died before the pool could take the item, one that says so."""
    try:
        return pool.submit(process, item)
    except BrokenProcessPool as error:
        refused: Future[Result] = Future()
        refused.set_exception(error)
        return refused


def _broken(future: Future[Result]) -> bool:
    return isinstance(future.exception(), BrokenProcessPool)


def _restarted(
    pool: ProcessPoolExecutor,
    process: Callable[[Item], Result],
    waiting: deque[tuple[Item, Future[Result]]],
    num_workers: int,
    died: Callable[[Item], Result],
) -> ProcessPoolExecutor:
    """A new pool; the items that the old one left are worked on one by one, since one of them ended it."""
    pool.shutdown(cancel_futures=True)
    for index, (item, future) in enumerate(waiting):
        if not future.done() or future.cancelled() or _broken(future):
            waiting[index] = (item, _alone(process, item, died))
    return _pool(num_workers)


def _alone(process: Callable[[Item], Result], item: Item, died: Callable[[Item], Result]) -> Future[Result]:
    with _pool(1) as pool:
        future = pool.submit(process, item)
        if not _broken(future):
            return future
    replacement: Future[Result] = Future()
    replacement.set_result(died(item))
    return replacement
