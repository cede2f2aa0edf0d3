"""Runs on the watcher thread: whether a sampled stack lies inside of an `expected_block`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from operator import call, is_
from types import CodeType
from typing import Any

from ..expected import NO_TASK, Entered, open_blocks
from .context import present_task
from .one_step import in_one_step
from .stacks import may_nest


def expected_in(frames: Mapping[int, CodeType], thread_id: int, loop: Any) -> str | None:
    """The reason, if a frame of this stack, and no earlier one in its place, is inside a block."""
    for block in open_blocks(frames, thread_id):
        if _is_at(block, loop):
            return block.reason
    return None


def _is_at(block: Entered, loop: Any) -> bool:
    """Whether the loop is at what entered the block; where that can be told."""
    # In a loop that runs inside of its own callback, it is at another one.
    if block.task is None or may_nest():
        return True
    if block.task is NO_TASK:
        return not any(map(bool, map(id, present_task(loop))))
    same: list[bool] = []
    in_one_step([partial(same.extend, map(is_, map(call, (block.task,)), present_task(loop)))])
    return same == [True]
