"""Runs in the parent: child processes take turns on one core.

Each child does a slice of the same work when it is told to and answers with what it was measured
by, so that all subjects meet the same machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from .figures import Pair, beside

LONGEST_TURN = 60.0  # seconds; a child that has not answered by then is no longer asked
SETTLE = 7.0  # seconds until an idle process is as quiet as it gets

# asyncio reads into a new 256 kB each time. Where that comes from depends on what was imported
# before (0.6 times the CPU of an echo if the heap happens to have such a hole, measured).
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "4194304", "MALLOC_TRIM_THRESHOLD_": "16777216"}

Measured = Mapping[str, float]
T = TypeVar("T")


class NotHereError(Exception):
    """A subject that cannot take part; the message says why."""


class Child:
    """A subject in a process of its own, pinned to a core."""

    def __init__(self, work: str, subject: str, core: int | None) -> None:
        self.subject = subject
        # Python's own defaults, whatever this shell's: with byte code from a cache.
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
        } | ALLOCATOR
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `stop`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", work, subject, str(core)],
            cwd=Path(__file__).parent.parent,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Wait until everything is imported and set up.

        Raises:
            NotHereError: the subject cannot run here.
        """
        self.answer()

    def turn(self, amount: int) -> Measured:
        """Have it do a slice of work.

        Raises:
            NotHereError: it failed.
        """
        self.ask(amount)
        return self.answer()

    def ask(self, amount: int) -> None:
        """Have it begin a slice of work."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `answer` says why
            self._process.stdin.write(f"{amount}\n")
            self._process.stdin.flush()

    def answer(self) -> Measured:
        """Wait for the slice to be done.

        Raises:
            NotHereError: it failed.
        """
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], LONGEST_TURN)[0]:
            msg = f"no answer in {LONGEST_TURN:.0f} s"
            raise NotHereError(msg)
        line = self._process.stdout.readline()
        if not line:
            raise NotHereError(self._last_words())
        answer: dict[str, float | str] = json.loads(line)
        if "not here" in answer:
            raise NotHereError(str(answer["not here"]))
        return {name: float(value) for name, value in answer.items()}

    def _last_words(self) -> str:
        self._process.wait(LONGEST_TURN)
        self._said.seek(0)
        lines = self._said.read().strip().splitlines() or [f"exit {self._process.returncode}"]
        return lines[-1].strip()[:200]

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
        self._said.close()


def core_to_use() -> int | None:
    """The last core that this process may use, None where processes cannot be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    return max(os.sched_getaffinity(0))


class Race:
    """The subjects of one work, those that fell out and what was measured so far."""

    def __init__(self, work: str, subjects: Sequence[str]) -> None:
        self._work = work
        self.subjects = subjects
        self.not_here: dict[str, str] = {}
        self.pairs: dict[str, list[Pair]] = {subject: [] for subject in subjects}

    def take_turns(self, rounds: int, amount: int, warm_up: int) -> None:
        """Nothing, twice a subject, nothing, twice the next one, and so on.

        A subject that is much slower than nothing gets less to do, so that nobody's turn is long.
        """
        with self._children() as (nothing, *others):
            usual = nothing.turn(warm_up)
            amounts = {}
            for child in others:
                warmed = self._try(child, child.turn, warm_up)
                if warmed is not None:
                    amounts[child] = less(amount, warmed, usual)
            for number in range(rounds):
                before = nothing.turn(amount)
                # Every other round backwards: nobody always follows the same neighbour.
                for child in list(amounts) if number % 2 else reversed(list(amounts)):
                    mine = self._try(child, _two_turns, child, amounts[child])
                    if mine is None:
                        del amounts[child]
                        continue
                    after = nothing.turn(amount)
                    self.pairs[child.subject].append(beside(before, mine, after))
                    self.pairs[nothing.subject].append(Pair(after, after))
                    before = after

    def go_round(self, rounds: int, amount: int, warm_up: int) -> None:
        """One slice each in every round, for work whose slices are long."""
        with self._children() as children:
            for child in children:
                self._try(child, child.turn, warm_up)
            for number in range(rounds):
                here = [child for child in children if child.subject not in self.not_here]
                measured = {}
                for child in here if number % 2 else reversed(here):
                    answer = self._try(child, child.turn, amount)
                    if answer is not None:
                        measured[child.subject] = answer
                self._pair(measured)

    def start_anew(self, rounds: int, amount: int) -> None:
        """A fresh process for every slice; the first one of each only fills caches."""
        for number in range(rounds + 1):
            measured = {}
            here = [subject for subject in self.subjects if subject not in self.not_here]
            for subject in here if number % 2 else reversed(here):
                child = Child(self._work, subject, core_to_use())
                try:
                    answer = self._try(child, _first_turn, child, amount)
                finally:
                    child.stop()
                if answer is not None:
                    measured[subject] = answer
            if number > 0:
                self._pair(measured)

    def idle_together(self, seconds: int) -> None:
        """All of them idle at the same time, watched from here: to look would wake them."""
        with self._children() as children:
            for child in children:
                child.ask(int(SETTLE) + seconds + 2)
            time.sleep(SETTLE)
            before = {child: activity(child.pid) for child in children}
            time.sleep(seconds)
            after = {child: activity(child.pid) for child in children}
            measured = {}
            for child in children:
                if self._try(child, child.answer) is not None:
                    measured[child.subject] = {
                        name: (after[child][name] - value) / seconds
                        for name, value in before[child].items()
                    }
            self._pair(measured)

    def _pair(self, measured: Mapping[str, Measured]) -> None:
        nothing = measured[self.subjects[0]]
        for subject, mine in measured.items():
            self.pairs[subject].append(Pair(mine, nothing))

    def _try(self, child: Child, do: Callable[..., T], *arguments: object) -> T | None:
        try:
            return do(*arguments)
        except NotHereError as reason:
            self.not_here[child.subject] = str(reason)
            return None

    @contextlib.contextmanager
    def _children(self) -> Iterator[list[Child]]:
        """All subjects that can run here, set up."""
        core = core_to_use()
        started = [Child(self._work, subject, core) for subject in self.subjects]
        try:
            for child in started:
                self._try(child, child.wait_until_ready)
            here = [child for child in started if child.subject not in self.not_here]
            if not here or here[0] is not started[0]:
                msg = f"{started[0].subject}: {self.not_here[started[0].subject]}"
                raise RuntimeError(msg)
            yield here
        finally:
            for child in started:
                child.stop()


def less(amount: int, measured: Measured, usual: Measured) -> int:
    """How much to do in the time that nothing takes for `amount`."""
    name = next(iter(usual))
    slower = measured[name] / usual[name] if usual[name] else 1.0
    return max(1, int(amount / max(1.0, slower)))


def activity(pid: int) -> dict[str, float]:
    """What a process's threads did so far: CPU milliseconds, and how often one was woken."""
    cpu = switches = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended just now
            cpu += int((task / "schedstat").read_text().split()[0]) / 1e6
            for line in (task / "status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    switches += int(line.split()[1])
    return {"wake-ups": switches, "CPU": cpu / 10}


def _two_turns(child: Child, amount: int) -> tuple[Measured, Measured]:
    return child.turn(amount), child.turn(amount)


def _first_turn(child: Child, amount: int) -> Measured:
    child.wait_until_ready()
    return child.turn(amount)
