"""Runs on the reporter thread: sends what processes left that were killed, each record once."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from ...limits.judge import Subject
from ...log import log_once
from ...options import Options
from ...stall import Outcome, Stall
from .. import scope
from ..frames import Presentation
from . import client, life, who
from .folder import Dead, Folder
from .known_code import KnownCode
from .last_event import Ready, ready
from .record import read


class Inherit(Protocol):
    """Asks the limits of this process about an event of another one."""

    def __call__(
        self, subject: Subject, options: Options, stall: Stall, send: Callable[[], Outcome]
    ) -> Outcome:
        """Have it sent if they let it, and settle that."""


def tell_of_dead(folder: Folder, inherit: Inherit, main: str | None) -> None:
    """Send the last words of every process of this service that is gone, as far as limits allow.

    `main` is the file of the program.
    """
    listening, service = scope.listening(), who.service()
    if listening is None or service is None:
        return
    for dead in folder.dead(service):
        try:
            _tell(folder, dead, listening, inherit, main=main)
        except Exception:  # noqa: BLE001 - whatever it holds, the next one is another's
            log_once("heir", "sentry_loopstall cannot tell of a killed process", exc_info=True)
        finally:
            with suppress(OSError):
                os.close(dead.descriptor)


def _tell(
    folder: Folder, dead: Dead, listening: scope.Listening, inherit: Inherit, *, main: str | None
) -> None:
    record = read(dead.descriptor, dead.size)
    if record is None or (record.event is None and record.traceback is None):
        folder.remove(dead.name)
        return
    if life.has_become_another(record.life.pid, record.life.started):
        folder.remove(dead.name)
        return
    name = folder.claim(dead)
    if name is None:
        return
    options = listening.options
    presentation = Presentation(options.error_after, listening.context_lines, listening.rules)
    is_same = record.life.python == life.python()
    is_same = is_same and record.life.release == who.named()["release"]
    known = KnownCode(record.life.born, listening.rules, is_same_release=is_same, main=main)
    built = ready(record, dead.name.partition(".")[0], dead.written_at, presentation, known)
    if built is None:
        folder.remove(name)
        return

    def send() -> Outcome:
        return client.send(built.event, built.stall, record.life, is_whole=built.is_whole)

    # Gone before it is removed, or it would be lost with this process; who is killed in between
    # leaves it to another one, which sends it by the same id.
    if inherit(_subject(built), options, built.stall, send) is not Outcome.NO_CLIENT:
        folder.remove(name)


def _subject(built: Ready) -> Subject:
    """As a hang that is told while it lasts: exempt from backoff, and it uses the allowance."""
    culprit = built.stall.culprit
    return Subject(
        stall_id=built.stall.id,
        key=built.key,
        name=culprit.name if culprit is not None else "",
        cause=built.stall.cause,
        seconds=built.stall.duration,
        chance=random.random(),  # noqa: S311 - a share of events
        age=built.age,
        ongoing=True,
    )
