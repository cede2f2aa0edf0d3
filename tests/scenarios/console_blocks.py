"""Blocks once, for as long as it is told to, and says when it is through."""

from __future__ import annotations

import asyncio
import sys
import time


async def blocks(seconds: float) -> None:
    time.sleep(seconds)


if "--close-stderr" in sys.argv:
    sys.stderr.close()
asyncio.run(blocks(float(sys.argv[1])))
print("through")
