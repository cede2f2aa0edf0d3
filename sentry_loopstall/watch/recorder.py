"""Runs on the watcher thread: collects what is seen of one late stretch."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

from ..recording import Callback, LoopThread, RawFrame, Recording, Sample
from .context import (
    copy_handle_context,
    copy_task_context,
    current_task,
    describe_handle,
    describe_task,
)
from .detector import Stretch
from .stacks import RunOnce


@dataclass(frozen=True, slots=True)
class Reading:
    """The loop thread's CPU clock at a look; both seconds, monotonic and cumulative."""

    at: float
    on_cpu: float | None
    polling: bool = False


class Recorder:
    """One late stretch of one loop, sample by sample."""

    def __init__(self, where: LoopThread, before: Reading, since_first_run: float) -> None:
        self._id = uuid.uuid4().hex
        self._where = where
        self._before = before
        self._last = before
        self._since_first_run = since_first_run
        self._samples: list[Sample] = []
        self._callbacks: int | None = None

    def add(
        self,
        frames: tuple[RawFrame, ...],
        running: RunOnce | None,
        loop: Any,
        reading: Reading,
        late: float,
    ) -> None:
        """Keep one sample, with the callback it was in and a copy of that one's context."""
        number = running.number if running is not None else None
        if number is not None:
            self._callbacks = number + 1
        task = current_task(loop)
        if task is not None:
            callback = describe_task(task, number)
            # Now and not when it is reported: a scope opened around the block is undone after it.
            context = copy_task_context(task)
        elif running is not None and running.handle is not None:
            callback = describe_handle(running.handle, number)
            context = copy_handle_context(running.handle)
        else:
            callback = Callback(number=number)
            context = None
        self._last = reading
        self._samples.append(
            Sample(
                at=reading.at,
                frames=frames,
                callback=callback,
                context=context,
                on_cpu=reading.on_cpu,
                late=late,
            )
        )

    def thin(self) -> None:
        """Keep every other sample; the one after a dropped one stands for both."""
        self._samples = self._samples[::2]

    def recording(self, stretch: Stretch, *, ongoing: bool, after: Reading) -> Recording:
        """The stall as it is known now; `after` is a reading taken when it was over."""
        return Recording(
            id=self._id,
            where=self._where,
            started_at=stretch.started_at,
            ended_at=stretch.ended_at,
            epoch_started_at=time.time() - (time.monotonic() - stretch.started_at),
            ongoing=ongoing,
            samples=tuple(self._samples),
            on_cpu=self._on_cpu(stretch, after),
            callbacks=self._callbacks,
            since_first_run=self._since_first_run,
        )

    def _on_cpu(self, stretch: Stretch, after: Reading) -> float | None:
        """CPU seconds within the stretch: the readings around it, cut to it in proportion."""
        readings = [
            self._before,
            *(Reading(sample.at, sample.on_cpu) for sample in self._samples),
            after,
        ]
        total = 0.0
        for earlier, later in zip(readings, readings[1:], strict=False):
            if earlier.on_cpu is None or later.on_cpu is None:
                return None
            span = later.at - earlier.at
            inside = min(later.at, stretch.ended_at) - max(earlier.at, stretch.started_at)
            if span <= 0 or inside <= 0:
                continue
            spent = later.on_cpu - earlier.on_cpu
            # A loop that polled before spent next to nothing until the stretch began.
            total += min(spent, inside) if earlier.polling else spent * min(1.0, inside / span)
        return min(total, stretch.ended_at - stretch.started_at)
