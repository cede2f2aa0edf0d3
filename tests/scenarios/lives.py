"""One way a process or a loop lives, and what was told of its stalls as JSON: `lives.py WAY`.

Every way blocks with `block()`; a forked child prints a line of its own.
"""

import asyncio
import functools
import importlib
import json
import logging
import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration, Stall

THRESHOLD = 0.1
told: list[Stall] = []
changed = threading.Condition()


class NoTransport(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        pass


def on_stall(stall: Stall) -> None:
    with changed:
        told.append(stall)
        changed.notify_all()


def init(integration: type[LoopStallIntegration] = LoopStallIntegration, **options: Any) -> None:
    chosen = {"threshold": THRESHOLD, "on_stall": on_stall, **options}
    sentry_sdk.init(
        dsn="http://public@127.0.0.1:9/1",
        transport=NoTransport,
        default_integrations=False,
        integrations=[integration(**chosen)],
    )


def block(seconds: float = 0.2) -> None:
    time.sleep(seconds)


async def block_once() -> None:
    await asyncio.sleep(0.02)
    block()
    await asyncio.sleep(0.02)


def report(number: int) -> None:
    """Wait until so many stalls were told, and print all there are."""
    with changed:
        changed.wait_for(lambda: len(told) >= number, 10)
    if number == 0:
        block(3 * THRESHOLD)  # outside of any loop: whatever is under way is told meanwhile
    with changed:
        stalls = [
            {
                "culprit": stall.culprit.name if stall.culprit else None,
                "thread": stall.thread,
                "task": stall.task,
                "outcome": stall.outcome,
                "duration": stall.duration,
                "threshold": stall.threshold,
            }
            for stall in told
        ]
    print(json.dumps(stalls), flush=True)


def in_fork(then: Callable[[], None]) -> None:
    """Run something in a forked child, which must end well."""
    pid = os.fork()
    if pid == 0:
        with changed:
            told.clear()
        try:
            then()
        except BaseException:  # noqa: BLE001 - the child must end here
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0


def run_and_report() -> None:
    asyncio.run(block_once())
    report(1)


# Forks


def fork_before_any_loop() -> None:
    init()
    in_fork(run_and_report)
    report(0)


def fork_during_a_loop() -> None:
    async def main() -> None:
        await asyncio.sleep(0.05)
        await asyncio.to_thread(in_fork, run_and_report)
        in_fork(run_and_report)

    init()
    asyncio.run(main())


def fork_of_a_parked_watcher() -> None:
    async def main() -> None:
        await asyncio.sleep(1.5)
        await asyncio.to_thread(in_fork, run_and_report)

    init()
    asyncio.run(main())
    report(0)


def fork_while_blocked() -> None:
    async def main() -> None:
        forked = threading.Event()

        def fork() -> None:
            in_fork(run_and_report)
            forked.set()

        await asyncio.sleep(0.05)
        threading.Timer(0.08, fork).start()
        assert forked.wait(20)
        await asyncio.sleep(0.02)

    init()
    asyncio.run(main())
    report(1)


def fork_after_a_loop() -> None:
    init()
    run_and_report()
    in_fork(run_and_report)


def fork_by_multiprocessing() -> None:
    init()
    run_and_report()
    told.clear()
    process = multiprocessing.get_context("fork").Process(target=run_and_report)
    process.start()
    process.join()
    assert process.exitcode == 0


# Loops


def stopped_and_closed_while_blocked() -> None:
    def stop_and_block() -> None:
        asyncio.get_running_loop().stop()
        block()

    init()
    loop = asyncio.new_event_loop()
    loop.call_soon(stop_and_block)
    loop.run_forever()
    loop.close()
    del loop
    report(1)


def moved_to_another_thread() -> None:
    init()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(block_once())
    run = functools.partial(loop.run_until_complete, block_once())
    thread = threading.Thread(target=run, name="second")
    thread.start()
    thread.join()
    loop.close()
    report(2)


def nested() -> None:
    """A callback runs the loop anew, which idles for long: that is no stall of the outer one."""
    import nest_asyncio  # type: ignore[import-untyped]  # it has no types

    async def inner() -> None:
        await asyncio.sleep(4 * THRESHOLD)
        block()
        await asyncio.sleep(4 * THRESHOLD)

    async def outer() -> None:
        await asyncio.sleep(0.02)
        asyncio.get_running_loop().run_until_complete(inner())
        await asyncio.sleep(0.02)
        block()
        await asyncio.sleep(0.02)

    init()
    nest_asyncio.apply()
    asyncio.run(outer())
    report(2)


def nested_before_init() -> None:
    import nest_asyncio

    nest_asyncio.apply()
    init()
    asyncio.run(block_once())
    report(1)


def in_debug_mode() -> None:
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    init()
    asyncio.run(block_once(), debug=True)
    report(1)


def with_a_loop_class_of_its_own() -> None:
    """One that was defined before `init()` and does not go through asyncio's `run_forever`."""

    class Loop(asyncio.SelectorEventLoop):
        def run_forever(self) -> None:
            self._run_forever_setup()  # type: ignore[attr-defined]
            try:
                while True:
                    self._run_once()  # type: ignore[attr-defined]
                    if self._stopping:  # type: ignore[attr-defined]
                        break
            finally:
                self._run_forever_cleanup()  # type: ignore[attr-defined]

    init()
    loop = Loop()
    loop.run_until_complete(block_once())
    loop.close()
    report(1)


# Clients


def init_in_a_thread() -> None:
    async def main() -> None:
        await asyncio.to_thread(init)
        await asyncio.sleep(0.1)
        block()
        await asyncio.sleep(0.02)

    asyncio.run(main())
    report(1)


def init_again_with_other_options() -> None:
    init(threshold=30.0, hang_after=None)
    asyncio.run(block_once())
    init()
    asyncio.run(block_once())
    report(1)


def client_closed() -> None:
    async def main() -> None:
        await asyncio.sleep(0.02)
        sentry_sdk.get_client().close()
        block()
        await asyncio.sleep(0.02)

    init()
    asyncio.run(main())
    report(1)


def imported_twice() -> None:
    """The SDK sets up the integration of the first import only."""
    init()
    for name in [name for name in sys.modules if name.startswith("sentry_loopstall")]:
        del sys.modules[name]
    init(importlib.import_module("sentry_loopstall").LoopStallIntegration)
    asyncio.run(block_once())
    report(1)


# Other tools at the same places


def patch(name: str) -> Callable[[], None]:
    """As agents do it: a plain function in place of asyncio's, which calls it."""
    original = getattr(asyncio.BaseEventLoop, name)

    @functools.wraps(original)
    def patched(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    setattr(asyncio.BaseEventLoop, name, patched)
    return functools.partial(setattr, asyncio.BaseEventLoop, name, original)


def patched_before_us() -> None:
    patch("run_forever")
    patch("_run_once")
    init()
    asyncio.run(block_once())
    report(1)


def patched_after_us() -> None:
    init()
    patch("run_forever")
    patch("_run_once")
    asyncio.run(block_once())
    report(1)


def unpatched_after_us() -> None:
    """Another tool puts back what it found before us."""
    take_back = patch("run_forever")
    init()
    take_back()
    asyncio.run(block_once())
    report(0)


def select_patched_while_blocked() -> None:
    """Another tool puts its own function where our trap is."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        await asyncio.sleep(0.02)
        block()
        trap = loop._selector.select
        loop._selector.select = lambda timeout=None: trap(timeout)
        await asyncio.sleep(0.02)
        assert loop._selector.select is not trap
        block()
        await asyncio.sleep(0.02)

    init()
    asyncio.run(main())
    report(2)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
