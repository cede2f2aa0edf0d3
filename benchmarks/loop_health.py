"""Utilization and delay as `loop_health()` tells them, beside what is true.

    python -m benchmarks.loop_health [--seconds 60] [--loop asyncio uvloop] [--work spin sleep]

A program blocks its loop for random times: lognormal stretches, bursts of them, a stall now and
then. It runs twice with the same random numbers. The first time it is watched; the second time it
is not, and a heartbeat of 1 ms measures how late it comes. Whoever becomes ready while a beat is
overdue waits, too, so a beat that is late counts once for each that it would have been. What the
program knows itself, for it times its stretches while it is watched, stands beside both. A beat is
late by a millisecond, about, where nothing else runs, for polls wait for whole ones: that is
measured first, for some seconds, and taken off: so far are beats apart.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from random import Random
from statistics import median
from typing import Any

BEAT = 0.001  # seconds
ALONE = 3.0  # seconds for which it beats where nothing else runs
SHARES = (0.5, 0.9, 0.99)
LIMITS = "utilization within 0.02; p50, p90 and p99 within 15 % or 1 ms"


def spin(seconds: float) -> None:
    """Compute, and hold the GIL."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


BLOCKS: dict[str, Callable[[float], None]] = {"spin": spin, "sleep": time.sleep}


async def work(block: Callable[[float], None], seconds: float) -> list[float]:
    """The program; how long it blocked, each time."""
    random = Random(7)
    begin = time.perf_counter()
    stretches = []
    while time.perf_counter() - begin < seconds:
        for _ in range(random.choice((1, 1, 1, 20))):
            length = 0.3 if random.random() < 0.002 else min(0.2, random.lognormvariate(-5.2, 1))
            started = time.perf_counter()
            block(length)
            stretches.append(time.perf_counter() - started)
            await asyncio.sleep(random.expovariate(90))
    return stretches


def by_stretches(stretches: list[float], seconds: float) -> dict[str, float]:
    """What follows from those: one of D seconds adds D - x to what waits for longer than x."""
    longest_first = sorted(stretches, reverse=True)
    told = {"utilization": sum(longest_first) / seconds}
    for share in SHARES:
        wanted, together, wait = (1 - share) * seconds, 0.0, 0.0
        for number, length in enumerate([*longest_first, 0.0]):
            if together - number * length >= wanted:
                wait = (together - wanted) / number
                break
            together += length
        told[f"p{share * 100:.0f}"] = wait
    return told


async def late_alone() -> float:
    """How late a beat is where nothing else runs, half of the time; seconds."""
    lates = []
    end = time.perf_counter() + ALONE
    while time.perf_counter() < end:
        due = time.perf_counter() + BEAT
        await asyncio.sleep(BEAT)
        lates.append(time.perf_counter() - due)
    return median(lates)


async def beat(waits: list[float], alone: float) -> None:
    """How long newcomers wait."""
    while True:
        due = time.perf_counter() + BEAT + alone
        await asyncio.sleep(BEAT)
        late = time.perf_counter() - due
        waits.append(max(0.0, late))
        while (late := late - BEAT - alone) > 0:
            waits.append(late)


async def beating(block: Callable[[float], None], seconds: float) -> dict[str, float]:
    """The program beside a heartbeat."""
    waits: list[float] = []
    heart = asyncio.create_task(beat(waits, await late_alone()))
    told = by_stretches(await work(block, seconds), seconds)
    heart.cancel()
    waits.sort()
    return {
        "utilization": told["utilization"],
        **{f"p{share * 100:.0f}": waits[int(share * len(waits))] for share in SHARES},
    }


async def watched(block: Callable[[float], None], seconds: float) -> dict[str, Any]:
    """The program under detection: all of it, as the terminal's command sums it up."""
    from sentry_loopstall.detection import Detection  # noqa: PLC0415 - the other run has none of it
    from sentry_loopstall.options import Options  # noqa: PLC0415 - as above

    options = Options()
    detection = Detection(lambda: options, lambda _: None)
    detection.install()
    await asyncio.sleep(0)
    stretches = await work(block, seconds)
    figures = detection.summary()
    detection.remove()
    if figures is None:
        return {}
    return {
        "utilization": figures.utilization,
        "by its stretches": by_stretches(stretches, seconds),
        "p50": figures.p50,
        "p90": figures.p90,
        "p99": figures.p99,
    }


def measure(loop: str, kind: str, seconds: float) -> dict[str, dict[str, Any]]:
    """Both runs, each in a process of its own."""
    found = {}
    for run in ("watched", "beating"):
        command = [sys.executable, "-m", "benchmarks.loop_health", "--child", run]
        command += ["--loop", loop, "--work", kind, "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[run] = json.loads(done.stdout)
    return found


def child(run: str, loop: str, kind: str, seconds: float) -> None:
    """One run, printed as JSON."""
    function = watched if run == "watched" else beating
    factory = importlib.import_module(loop).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        print(json.dumps(runner.run(function(BLOCKS[kind], seconds))))


def within(estimated: float, true: float) -> str:
    """Whether a time is as near as is asked for."""
    return "" if abs(estimated - true) <= max(0.001, 0.15 * true) else "  missed"


def show(loop: str, kind: str, found: dict[str, dict[str, Any]]) -> None:
    """Both side by side."""
    told, beaten = found["watched"], found["beating"]
    known = told["by its stretches"]
    print(f"\n{loop}, {kind:<12}     loop_health  heartbeat  its stretches")
    missed = "" if abs(told["utilization"] - known["utilization"]) <= 0.02 else "  missed"
    shares = f"{told['utilization']:11.3f} {'':10} {known['utilization']:14.3f}"
    print(f"  utilization      {shares}{missed}")
    for share in SHARES:
        name = f"p{share * 100:.0f}"
        print(
            f"  delay {name}, ms    {told[name] * 1000:11.2f} {beaten[name] * 1000:10.2f}"
            f" {known[name] * 1000:14.2f}{within(told[name], beaten[name])}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, or be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--loop", nargs="+", default=["asyncio", "uvloop"])
    parser.add_argument("--work", nargs="+", default=list(BLOCKS), choices=list(BLOCKS))
    parser.add_argument("--child", choices=("watched", "beating"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        child(given.child, given.loop[0], given.work[0], given.seconds)
        return
    print(f"{given.seconds:.0f} s each; {LIMITS}")
    for loop in given.loop:
        for kind in given.work:
            show(loop, kind, measure(loop, kind, given.seconds))


if __name__ == "__main__":
    main()
