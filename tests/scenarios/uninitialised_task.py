"""A server of its own kind of task, as Granian's `--task-impl=rust`: `Task.__init__` never ran."""

import asyncio
import os
import threading
import time

import sentry_sdk

from sentry_loopstall import LoopStallIntegration

told = threading.Event()

sentry_sdk.init(
    dsn=os.environ["RECEIVER_DSN"],
    integrations=[LoopStallIntegration(threshold=0.1, on_stall=lambda _: told.set())],
)


class ServersTask(asyncio.Task[None]):
    def __init__(self) -> None:
        """Leave everything of `Task` as it is."""


def serve(who: str) -> None:
    loop = asyncio.get_running_loop()
    asyncio.tasks._enter_task(loop, task)
    try:
        with sentry_sdk.isolation_scope() as scope:
            scope.set_user({"id": who})
            time.sleep(0.3)
    finally:
        asyncio.tasks._leave_task(loop, task)


async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.call_soon(serve, "mallory")
    await asyncio.to_thread(told.wait, 10)


task = ServersTask()
asyncio.run(main())
