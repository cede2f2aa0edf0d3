"""Forks while something that is loaded late is being loaded, slowly; the child loads it, too.

Prints whether the child could, from the child, and from the parent whether the fork waited.
"""

import importlib.abc
import os
import signal
import sys
import threading
import time

from sentry_loopstall.report.on_demand import load_delivery

SLOW = {"delivery": "event", "flamegraph": "profile"}
PAUSE = 0.3


class Slow(importlib.abc.MetaPathFinder):
    """Takes its time over one module."""

    def __init__(self) -> None:
        self.at_it = threading.Event()
        self.done_at = float("inf")

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname == f"sentry_loopstall.report.{SLOW[sys.argv[1]]}" and not self.at_it.is_set():
            self.at_it.set()
            time.sleep(PAUSE)
            self.done_at = time.monotonic()


def load() -> str:
    """The name of what was asked for."""
    if sys.argv[1] == "delivery":
        return load_delivery().__name__
    from sentry_loopstall.report import delivery

    return type(delivery._new_flamegraph()).__name__


slow = Slow()
sys.meta_path.insert(0, slow)
loader = threading.Thread(target=load)
loader.start()
slow.at_it.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)  # in case it waits for ever
    print("child:", load(), flush=True)
    os._exit(0)
waited = time.monotonic() >= slow.done_at
loader.join()
load()
_, status = os.waitpid(child, 0)
print("parent:", waited, os.waitstatus_to_exitcode(status))
