"""Walks the stack of a thread that returns from all of it once garbage is collected.

The collection comes at the next allocation, or at the one after... Prints the distinct numbers of
frames that were seen, of how many there are: none, if it came before the walk.
"""

import gc
import sys
import threading
from types import FrameType

from sentry_loopstall.watch.frames import ByIdent, see

DEPTH = 200


def down(depth: int, wait: threading.Event, here: threading.Event) -> None:
    if depth:
        down(depth - 1, wait, here)
    else:
        here.set()
        wait.wait()


def walk(thread_id: int, allocations: int) -> int:
    frame: FrameType | None = sys._current_frames()[thread_id]
    gc.set_threshold(gc.get_count()[0] + allocations)
    gc.enable()
    if "plainly" not in sys.argv:
        del frame
        return sum(code is down.__code__ for code in see(ByIdent(thread_id), whole=True).codes)
    number = 0
    while frame is not None:
        number += frame.f_code is down.__code__
        frame = frame.f_back
    return number


gc.disable()
seen = set()
for allocations in range(1, DEPTH + 60, 13):
    wait, here = threading.Event(), threading.Event()
    thread = threading.Thread(target=down, args=(DEPTH, wait, here))
    thread.start()
    here.wait()

    def let_it_return(
        phase: str, _: object, wait: threading.Event = wait, thread: threading.Thread = thread
    ) -> None:
        gc.disable()
        wait.set()
        thread.join()

    gc.callbacks.append(let_it_return)
    seen.add(walk(thread.ident or 0, allocations))
    gc.disable()
    gc.callbacks.remove(let_it_return)
    wait.set()
    thread.join()
print(*sorted(seen), "of", DEPTH + 1)
