"""`init()` in a sub-interpreter, whose event loop then blocks; prints what was logged there."""

import importlib
import sys

PROGRAM = f"""
import sys
sys.path[:] = {sys.path!r}
import asyncio, logging, time, threading
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
import sentry_sdk
from sentry_loopstall import LoopStallIntegration

untouched = asyncio.BaseEventLoop.run_forever
sentry_sdk.init(
    dsn="http://public@127.0.0.1:9/1",
    release="1",
    default_integrations=False,
    auto_session_tracking=False,
    integrations=[LoopStallIntegration(threshold=0.05, on_stall=print)],
)
assert asyncio.BaseEventLoop.run_forever is untouched


async def main():
    time.sleep(0.2)
    await asyncio.sleep(0.1)


asyncio.run(main())
print("threads", len(threading.enumerate()), flush=True)
"""

for name in ("_interpreters", "_xxsubinterpreters"):
    try:
        interpreters = importlib.import_module(name)
    except ImportError:
        continue
    # One with the main interpreter's GIL: `wrapt` and others do not load in isolated ones.
    create = interpreters.create
    interpreter = create("legacy") if name == "_interpreters" else create(isolated=False)
    failed = (
        interpreters.exec(interpreter, PROGRAM)
        if name == "_interpreters"
        else interpreters.run_string(interpreter, PROGRAM)
    )
    assert failed is None, failed.formatted
    interpreters.destroy(interpreter)
    break
else:
    print("none")
