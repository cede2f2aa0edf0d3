"""Forks while what tells of a stall is being loaded, slowly; the child loads it, too.

Prints whether the child could, from the child, and from the parent whether the fork waited.
"""

import importlib.abc
import os
import signal
import sys
import threading
import time

from sentry_loopstall.report import on_demand

SLOW = "sentry_loopstall.report.event"
PAUSE = 0.3


class Slow(importlib.abc.MetaPathFinder):
    """Takes its time over one module."""

    def __init__(self) -> None:
        self.at_it = threading.Event()
        self.done_at = float("inf")

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname == SLOW and not self.at_it.is_set():
            self.at_it.set()
            time.sleep(PAUSE)
            self.done_at = time.monotonic()


slow = Slow()
sys.meta_path.insert(0, slow)
loader = threading.Thread(target=on_demand.load_delivery)
loader.start()
slow.at_it.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)  # in case it waits for ever
    print("child:", on_demand.load_delivery().__name__, flush=True)
    os._exit(0)
waited = time.monotonic() >= slow.done_at
loader.join()
on_demand.load_delivery()
_, status = os.waitpid(child, 0)
print("parent:", waited, os.waitstatus_to_exitcode(status))
