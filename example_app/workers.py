"""Runs in the application's process and in its worker processes: who computes for the loop."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.context import SpawnContext


@contextlib.contextmanager
def worker_processes(number: int) -> Iterator[Executor]:
    """Processes that are ready for work; blocks while they start and end."""
    # Not forked: a fork copies the locks of all threads in whatever state they are.
    context: SpawnContext = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(number, mp_context=context, initializer=end_with_parent) as workers:
        # Waits until one has started, and thereby spares the first request that.
        workers.submit(os.getpid).result(timeout=60)
        try:
            yield workers
        finally:
            workers.shutdown(wait=True, cancel_futures=True)


def end_with_parent() -> None:
    """Runs in each worker: end also if the application was killed and could not say goodbye."""
    threading.Thread(target=_wait_for_parent, name="end-with-parent", daemon=True).start()


def _wait_for_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(0)
