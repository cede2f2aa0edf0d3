"""Walks the stack of a thread that returns from all of it once garbage is collected.

The collection comes at the next allocation, or at the one after... Prints the distinct numbers of
frames that were seen, of how many there are.
"""

import gc
import sys
import threading

from sentry_loopstall.watch.stacks import frames_of_all_threads, read_run_once, sample_stack

DEPTH = 200


def down(depth: int, wait: threading.Event, here: threading.Event) -> None:
    if depth:
        down(depth - 1, wait, here)
    else:
        here.set()
        wait.wait()


def walk(thread_id: int, allocations: int) -> int:
    frames = sys._current_frames() if "plainly" in sys.argv else frames_of_all_threads()
    try:
        gc.set_threshold(gc.get_count()[0] + allocations)
        gc.enable()
        read_run_once(frames[thread_id])
        return sum(code is down.__code__ for code, _, _ in sample_stack(frames[thread_id]))
    finally:
        frames.clear()


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
print(*seen, "of", DEPTH + 1)
