"""The parent blocks, then forks a child, which blocks too if it was told to."""

from __future__ import annotations

import asyncio
import os
import sys
import time


async def in_parent() -> None:
    time.sleep(0.2)


async def in_child() -> None:
    time.sleep(0.2)


asyncio.run(in_parent())
child = os.fork()
if child:
    os.waitpid(child, 0)
elif "block" in sys.argv:
    asyncio.run(in_child())
