"""Requests to FastAPI under uvicorn, as fast as it can, sixteen at a time."""

from __future__ import annotations

from benchmarks.figures import Figure
from benchmarks.load import LoadProcess, Order
from benchmarks.subjects import EVERYBODY
from benchmarks.web import CountedRequests, application, serve
from benchmarks.work import OwnLoop, Schedule, Setting, Size, Subject, Turn, Work

CONNECTIONS = 16


def start(subject: Subject, setting: Setting) -> Turn:
    """A slice is so many requests."""
    loop = OwnLoop(subject, setting)
    counted = CountedRequests(application())
    port = loop.run(serve(counted))
    load = LoadProcess()

    async def answer(requests: int) -> float:
        done = counted.expect(requests)
        load.begin(Order(port, CONNECTIONS, requests, path="/orders/7?page=2"))
        return await done

    def turn(amount: int) -> dict[str, float]:
        cpu = loop.run(answer(amount))
        load.seen()
        return {"CPU": cpu / amount * 1e6}

    return turn


WORK = Work(
    title="FastAPI requests, asyncio",
    what="CPU of uvicorn's process for one request, sixteen connections at a time.",
    schedule=Schedule.TURNS,
    subjects=EVERYBODY,
    figures=(Figure("CPU", "µs", at_most=1.01, key=True),),
    start=start,
    size=Size(12, 500),
    quick=Size(3, 250),
)
