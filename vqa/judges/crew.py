"""Work for several threads, taken as it gets done."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def done_by(
    jobs: Sequence[Callable[[], T]], *, workers: int
) -> Iterator[tuple[int, T | BaseException]]:
    """Do jobs on at most `workers` threads; yield number and result, or error, as each is done.

    Whoever stops iterating waits for nobody: jobs not yet begun are dropped, and a thread that
    hangs in a request does not keep the program alive. (A ThreadPoolExecutor would.)
    """
    left: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, T | BaseException]] = queue.SimpleQueue()
    dropped = threading.Event()

    def work() -> None:
        while (number := left.get()) is not None and not dropped.is_set():
            try:
                done.put((number, jobs[number]()))
            except BaseException as error:
                done.put((number, error))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(workers, len(jobs)))]
    for number in range(len(jobs)):
        left.put(number)
    for _ in threads:
        left.put(None)
    for thread in threads:
        thread.start()
    try:
        for _ in jobs:
            yield done.get()
    finally:
        dropped.set()
