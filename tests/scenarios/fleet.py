"""Many processes whose limits are shared, fed with recordings: fleet.py SIZE SECONDS FIRST LARGEST.

All have stalls of one culprit four times a second. The first has a new one every sixth of the time,
and towards the end all have one more, once.
"""

import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from sentry_loopstall import LoopStallIntegration
from sentry_loopstall.limits.fleet import Answer, Request
from sentry_loopstall.limits.redis_server import RedisServer
from sentry_loopstall.recording import Recording
from sentry_loopstall.report.delivery import Delivery
from tests.fakes import evenly, frame

SIZE, SECONDS, FIRST, LARGEST = map(float, sys.argv[1:])
PERIOD = 0.25


def stall_of(name: str) -> Recording:
    return evenly([frame(name)], duration=0.3)._replace(id=uuid4().hex)


class Member:
    """One process of the fleet; `began` is the moment at which all begin."""

    def __init__(self, number: int, began: float) -> None:
        self.number = number
        self.began = began
        self.told: dict[str, Any] = {"sent": [], "seen": [], "asked": 0, "unavailable": 0}

    def live(self) -> None:
        self.set_up()
        delivery = Delivery()
        schedule = [(turn * PERIOD, "chronic") for turn in range(int(SECONDS / PERIOD))]
        schedule.append((0.85 * SECONDS, "late"))
        if self.number == 0:
            schedule += [(SECONDS * part / 6, f"new_{part}") for part in range(1, 6)]
        for planned, name in sorted(schedule):
            at = planned + PERIOD * self.number / SIZE
            time.sleep(max(0.0, at - self.now()))
            self.told["seen"].append([self.now(), name])
            delivery.tell(stall_of(name))
        delivery.tend(leaving=True)

    def now(self) -> float:
        return time.time() - self.began

    def set_up(self) -> None:
        member = self

        class Keeping(Transport):
            def capture_envelope(self, envelope: Envelope) -> None:
                event: Any = envelope.get_event()
                context = event["contexts"]["loop_stall"]
                name = context["culprit"].rpartition(".")[2]
                suppressed = context["suppressed_events"]
                member.told["sent"].append([member.now(), name, suppressed])

        call = RedisServer.call

        def counting(server: RedisServer, request: Request, now: float) -> Answer:
            member.told["asked"] += 1
            member.told["unavailable"] += 1
            answer = call(server, request, now)
            member.told["unavailable"] -= 1
            return answer

        RedisServer.call = counting  # type: ignore[method-assign,assignment]  # in this process
        sentry_sdk.init(
            dsn="http://public@127.0.0.1:9/1",
            transport=Keeping,
            default_integrations=False,
            integrations=[LoopStallIntegration(culprit_backoff=(FIRST, LARGEST))],
        )


def main() -> None:
    began = time.time() + 1.0 + SIZE / 20
    with TemporaryDirectory() as folder:
        children = []
        for number in range(int(SIZE)):
            child = os.fork()
            if not child:
                member = Member(number, began)
                member.live()
                Path(folder, str(number)).write_text(json.dumps(member.told), encoding="utf-8")
                os._exit(0)
            children.append(child)
        time.sleep(max(0.0, began - time.time()))
        print("begun", flush=True)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        print(json.dumps([json.loads(path.read_text()) for path in Path(folder).iterdir()]))


main()
