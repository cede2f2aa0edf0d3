"""Fork in each way there is, and print whether the child knows the ids of its own threads."""

import os
import sys
import threading
from collections.abc import Callable

from sentry_loopstall.watch.evidence import thread_cpu_time
from sentry_loopstall.watch.known_threads import known_thread, known_threads


def native_id_of(thread: threading.Thread) -> int | None:
    return known_thread(thread.ident or 0).native_id


def knows_its_threads() -> bool:
    """The main thread, seen by another one, and that."""
    main = threading.main_thread()
    seen: list[bool] = []

    def look() -> None:
        seen.append(native_id_of(threading.current_thread()) == threading.get_native_id())
        seen.append(known_threads()[main.ident or 0].native_id == native_id_of(main))
        seen.append(thread_cpu_time(native_id_of(main)) is not None)

    seen.append(native_id_of(main) == threading.get_native_id())
    other = threading.Thread(target=look)
    other.start()
    other.join()
    return seen == [True] * 4


def in_child(check: Callable[[], bool], fork: Callable[[], int] = os.fork) -> bool:
    child = fork()
    if child == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def in_thread(check: Callable[[], bool]) -> bool:
    said: list[bool] = []
    thread = threading.Thread(target=lambda: said.append(check()))
    thread.start()
    thread.join()
    return said == [True]


WAYS: dict[str, Callable[[], bool]] = {
    "no fork": knows_its_threads,
    "fork": lambda: in_child(knows_its_threads),
    "fork of a fork": lambda: in_child(lambda: in_child(knows_its_threads)),
    "fork by another thread": lambda: in_thread(lambda: in_child(knows_its_threads)),
    "and again": lambda: in_thread(
        lambda: in_child(lambda: in_thread(lambda: in_child(knows_its_threads)))
    ),
    "forkpty": lambda: in_child(knows_its_threads, lambda: os.forkpty()[0]),
}

if __name__ == "__main__":
    print(WAYS[sys.argv[1]]())
