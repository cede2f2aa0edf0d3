"""Last words under Gunicorn: what its workers hung on, and nothing where it is told to stop.

Not called `test_*`, so that pytest collects it only when it is named.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from ..conftest import poll
from ..dying import (
    SUPERVISED,
    Server,
    Service,
    ends_by,
    pids_of,
    running_service,
    told_after_nap,
    told_of_killed_worker,
)

if sys.platform != "linux":
    pytest.skip("its kernel has the timers", allow_module_level=True)

WORKERS = {name: served for name, served in SUPERVISED.items() if "gunicorn" in name}


def at_once(*calls: Callable[[], None]) -> None:
    """They mostly wait."""
    with ThreadPoolExecutor(len(calls)) as pool:
        for called in [pool.submit(call) for call in calls]:
            called.result()


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_that_hangs_is_killed(tmp_path: Path, worker: str) -> None:
    """Past `--timeout`; one that sleeps leaves all that its request was about."""

    def hang(path: str) -> None:
        (tmp_path / path).mkdir()
        with running_service(tmp_path / path) as service:
            event = told_of_killed_worker(service, WORKERS[worker], path)
        if path == "wait":
            assert event["transaction"] == "/wait"
            assert event["user"] == {"id": "mallory"}

    at_once(partial(hang, "match"), partial(hang, "wait"))


def test_one_that_is_told_to_stop_leaves_nothing(tmp_path: Path) -> None:
    """Nor one whose worker is replaced; both wait until the old stretch has ended."""

    def replace(service: Service, name: str, server: Server) -> None:
        pids = pids_of(service, name)
        server.process.send_signal(signal.SIGHUP)
        poll(lambda: len(pids_of(service, name) - pids) == 1, timeout=30)
        poll(lambda: not any(Path("/proc", pid).exists() for pid in pids), timeout=30)
        ends_by(signal.SIGTERM)(server)

    with running_service(tmp_path) as service:
        stops = []
        for worker, served in WORKERS.items():
            command = f"{served.shown} --workers=1 --bind=127.0.0.1:{{port}}"
            told, name = partial(told_after_nap, service, command), f"{worker}, replaced"
            stops += [
                partial(told, worker, ends_by(signal.SIGTERM)),
                partial(told, name, partial(replace, service, name)),
            ]
        at_once(*stops)
        assert service.heirs(ENVIRONMENT="production") == []
