"""The loop of a thread, and one that starts at exit, block after the main program has ended."""

from __future__ import annotations

import asyncio
import atexit
import threading
import time

running = threading.Event()


async def in_thread() -> None:
    running.set()
    while threading.main_thread().is_alive():
        await asyncio.sleep(0.01)
    time.sleep(0.2)


async def at_exit() -> None:
    time.sleep(0.2)


atexit.register(lambda: asyncio.run(at_exit()))
threading.Thread(target=lambda: asyncio.run(in_thread()), name="worker").start()
running.wait()
