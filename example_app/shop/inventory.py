"""Runs on the event loop and on the warehouse's thread, which share a lock: the stock."""

from __future__ import annotations

import asyncio
import threading
import time


class Inventory:
    """How many of each product are left."""

    def __init__(self) -> None:
        self._stock = {"mug": 1_000_000}
        self._lock = threading.Lock()

    def synchronise(self, begun: threading.Event) -> None:
        """Runs on a thread: talk to the warehouse for a while, with the lock held throughout."""
        with self._lock:
            begun.set()
            time.sleep(0.6)
            self._stock["mug"] += 1

    async def begin_synchronisation(self) -> None:
        """Have the stock synchronised on a thread; return when it is under way."""
        begun = threading.Event()
        threading.Thread(
            target=self.synchronise, args=(begun,), name="warehouse", daemon=True
        ).start()
        await asyncio.to_thread(begun.wait, 10)

    def reserve(self, product: str) -> int:
        """Take one, which on the loop means to wait there for a thread."""
        with self._lock:
            self._stock[product] -= 1
            return self._stock[product]

    async def reserve_async(self, product: str) -> int:
        """Take one on a thread, lock and all."""
        return await asyncio.to_thread(self.reserve, product)
