"""Reads all frames when garbage is to be collected at the next allocation, or at the one after...

The garbage needs the interpreter's lock to go. Prints how many threads were seen each time, and
whether the collector was left as it was.
"""

import gc
import sys
import threading

from sentry_loopstall.watch.others import places_of_all_threads

THREADS = 5


class Garbage:
    """Refers to itself, so that only the collector finds it."""

    def __init__(self) -> None:
        self.itself = self
        self.local = threading.local()
        self.local.value = 1


read = sys._current_frames if "plainly" in sys.argv else places_of_all_threads
OWN_ALLOCATIONS = 30  # before it comes to reading
gc.disable()
for allocations in range(OWN_ALLOCATIONS + 3 * THREADS):
    stand = threading.Event()
    standing = threading.Barrier(THREADS + 1)

    def wait(stand: threading.Event = stand, standing: threading.Barrier = standing) -> None:
        standing.wait()
        stand.wait()

    threads = [threading.Thread(target=wait) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    standing.wait()
    Garbage()
    gc.set_threshold(gc.get_count()[0] + allocations)
    gc.enable()
    frames = read()
    is_enabled = gc.isenabled()
    gc.disable()
    seen = len(frames)
    frames = read()
    print(seen, is_enabled, len(frames), gc.isenabled())
    del frames
    stand.set()
    for thread in threads:
        thread.join()
