"""Runs on the event loop or, as it should, in a worker process: computes in plain Python."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor


def rank_pairs(baskets: int) -> tuple[int, int]:
    """Find the two products that are most often bought together."""
    bought_together: dict[tuple[int, int], int] = {}
    for basket in range(baskets):
        pair = (basket * 7919 % 50, basket * 104_729 % 53)
        bought_together[pair] = bought_together.get(pair, 0) + 1
    return max(bought_together, key=bought_together.__getitem__, default=(0, 0))


async def rank_pairs_async(workers: Executor, baskets: int) -> tuple[int, int]:
    """Find them in a worker process: a thread would share the GIL with the loop."""
    return await asyncio.get_running_loop().run_in_executor(workers, rank_pairs, baskets)
