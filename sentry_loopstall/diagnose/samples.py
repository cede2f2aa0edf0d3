"""Pure: runs anywhere. Whom each sample blames."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from operator import itemgetter
from typing import Any, NamedTuple

from ..cached import computed_once
from ..not_run_yet import is_awaiting
from ..recording import Callables, Callback, RawFrame, Recording, Sample, Variables
from .ended import with_ended
from .in_app import CodeFrame, InAppRules, Whose, classify
from .weights import weigh
from .who_ran import who_ran

OURS = "sentry_loopstall"
SDK = "sentry_sdk"
IMPORT_MACHINERY = "<frozen importlib._bootstrap>"
IMPORT_MODULES = frozenset({"importlib", "importlib._bootstrap", "_frozen_importlib"})
DEBUGGERS = frozenset({"bdb", "pdb", "pudb", "ipdb", "pydevd", "debugpy", "_pydevd_bundle"})
Key = tuple[str, ...]
"""Module and qualified name of who is to blame; where that is a library, for what it was at work:
a route or a coroutine."""
Classified = Callable[[RawFrame], CodeFrame]

_module = itemgetter(2)


class Stack:
    """One sampled stack; its frames are classified only as far as somebody asks.

    Most stalls are held back, and for whom to blame the innermost frames will do. That the stack
    has no import and no debugger on it, its modules tell at once: 5 µs for 56 frames in all,
    classifying each takes 40 (measured).
    """

    def __init__(
        self,
        raw: tuple[RawFrame, ...],
        classified: Classified,
        ending: RawFrame | None = None,
        callables: Callables | None = None,
    ) -> None:
        self._classified = classified
        self._ending = ending
        self._is_certain = False
        modules = set(map(_module, raw))
        packages = {module.partition(".")[0] for module in modules}
        raw = without_ours(raw) if OURS in packages else raw
        self._raw, self._evaluates = who_ran(raw, self._calls_back, callables)
        self.in_debugger: bool = not packages.isdisjoint(DEBUGGERS)
        imports = not modules.isdisjoint(IMPORT_MODULES)
        self.importing: int | None = outermost_import(self.frames) if imports else None

    def _calls_back(self, raw: RawFrame) -> bool:
        """Whether it is the event loop's own, and not the SDK's, whose wrappers call on."""
        return raw[2].partition(".")[0] != SDK and self._classified(raw).machinery

    def _classify(self, raw: RawFrame) -> CodeFrame:
        frame = self._classified(raw)
        at_end = raw is self._raw[0]
        if raw is self._ending or (at_end and not self._evaluates):
            return replace(frame, evaluates=False)
        return frame

    @computed_once
    def frames(self) -> tuple[CodeFrame, ...]:
        """The outermost first, without the event loop's own below the callback."""
        classified = tuple(map(self._classify, reversed(self._raw)))
        return resolved(without_machinery_below(classified))

    @computed_once
    def place(self) -> int | None:
        """The place of the frame to blame, None where it is the callback itself."""
        if self._inwards is None:
            return None
        outermost_first = map(self._classified, reversed(self._raw))
        below = sum(1 for _ in itertools.takewhile(lambda frame: frame.machinery, outermost_first))
        # Where there is nothing else the machinery is shown, too.
        below = 0 if below == len(self._raw) else below
        return len(self._raw) - below - 1 - self._inwards

    @computed_once
    def key(self) -> Key | None:
        """What the frame to blame is known by."""
        return None if self._inwards is None else self._classified(self._raw[self._inwards]).key

    @property
    def is_in_app(self) -> bool:
        """Whether the frame to blame is the application's."""
        if self._inwards is None:
            return False
        return self._is_certain or self.frames[self.place or 0].in_app

    def _innermost_in_app(self) -> int | None:
        """Its place, where that it is to blame needs no look at other frames."""
        for place, raw in enumerate(self._raw):
            frame = self._classified(raw)
            if frame.whose is Whose.APPLICATION:
                return None if is_awaiting(frame.code, frame.last_instruction) else place
        return None

    def variables_of(self, sample: Sample) -> Variables:
        """The sample's, with their places in this stack.

        A frame that has run nothing is not in it, one that has ended is, and has none any more.
        """
        told: list[tuple[int, dict[str, Any]]] = []
        for place, values in sample.variables:
            if _is_ours(sample.frames[place]):
                continue
            outer = len(without_ours(sample.frames[place:]))
            code = sample.frames[place][0]
            # Counted from the outermost frame it is where it was, or the one that ended is between.
            for here in (len(self._raw) - outer, len(self._raw) - outer - 1):
                there = self._raw[here] if here >= 0 else None
                if there is not None and there is not self._ending and there[0] is code:
                    told.append((here, values))
                    break
        return tuple(told)

    @computed_once
    def _inwards(self) -> int | None:
        """The place of the frame to blame, counted from the innermost."""
        if self.importing is None:
            place = self._innermost_in_app()
            if place is not None:
                self._is_certain = True
                return place
        index = culprit_index(self.frames[: self.importing])
        return None if index is None else len(self.frames) - 1 - index

    @computed_once
    def callers(self) -> dict[Key, int]:
        """The in-app functions outside of an import, each with its innermost place."""
        return {
            frame.key: place
            for place, frame in enumerate(self.frames[: self.importing])
            if frame.may_be_culprit
        }

    @computed_once
    def libraries(self) -> dict[Key, int]:
        """The functions of libraries, each with its innermost place."""
        return {
            frame.key: place
            for place, frame in enumerate(self.frames)
            if frame.whose is Whose.LIBRARY
        }


class Blamed(NamedTuple):
    """One sample, the time it stands for, and whom it blames.

    `place` is the culprit's place in the stack, None where the callback itself is to blame because
    no frame is. `on_cpu` is the loop thread's CPU seconds of that time, `at` its begin (monotonic
    seconds).
    """

    sample: Sample
    seconds: float
    stack: Stack
    key: Key
    place: int | None
    on_cpu: float | None = None
    at: float = 0.0

    @property
    def frames(self) -> tuple[CodeFrame, ...]:
        """The outermost first."""
        return self.stack.frames

    @property
    def frame(self) -> CodeFrame | None:
        """The culprit's frame."""
        return None if self.place is None else self.frames[self.place]

    @property
    def importing(self) -> int | None:
        """The place of the outermost import, None outside of imports."""
        return self.stack.importing

    @property
    def in_debugger(self) -> bool:
        """Whether somebody sits at a debugger's prompt."""
        return self.stack.in_debugger


def blame(recording: Recording, rules: InAppRules) -> tuple[Blamed, ...]:
    """Every sample of a recording with its weight and whom it blames."""
    classified = classifier(rules)
    # The watcher keeps equal stacks as one object.
    stacks: dict[int, Stack] = {}
    amended: dict[object, tuple[tuple[RawFrame, ...], RawFrame | None]] = {}
    blamed = []
    clock: float | None = None
    before: tuple[RawFrame, ...] = ()
    callback: Callback | None = None
    for sample, begin, seconds in weigh(recording):
        on_cpu = None if clock is None or sample.on_cpu is None else sample.on_cpu - clock
        clock = sample.on_cpu
        frames, ending = sample.frames, None
        if sample.callback == callback:
            same = (id(before), id(frames))
            if same not in amended:
                amended[same] = with_ended(before, frames)
            frames, ending = amended[same]
        before, callback = frames, sample.callback
        stack = stacks.get(id(frames))
        if stack is None:
            stack = stacks[id(frames)] = Stack(frames, classified, ending, sample.callables)
        key = stack.key or callback_key(sample.callback)
        if sample.variables:
            sample = sample._replace(variables=stack.variables_of(sample))  # noqa: PLW2901 - so far
        blamed.append(Blamed(sample, seconds, stack, key, stack.place, on_cpu, begin))
    return blame_libraries(tuple(blamed))


def blame_libraries(blamed: tuple[Blamed, ...]) -> tuple[Blamed, ...]:
    """Blame one function for all that libraries did for the same route, or coroutine.

    Of the samples without the application's code it is the deepest function outside of the standard
    library that was there for half of their time: in which of its helpers a sample finds a library
    is chance.
    """
    groups: dict[str, list[Blamed]] = defaultdict(list)
    for one in blamed:
        if one.stack.importing is None and not one.stack.is_in_app and one.stack.libraries:
            groups[at_work_for(one.sample)].append(one)
    if not groups:
        return blamed
    told: dict[int, Blamed] = {}
    for at_work, samples in groups.items():
        function = _deepest_of_half(samples)
        for one in samples:
            key = function or one.key
            place = one.stack.libraries.get(key) if function else one.place
            told[id(one)] = one._replace(key=(*key, at_work) if at_work else key, place=place)
    return tuple(told.get(id(one), one) for one in blamed)


def _deepest_of_half(samples: list[Blamed]) -> Key | None:
    seconds: dict[Key, float] = defaultdict(float)
    places: dict[Key, list[int]] = defaultdict(list)
    for one in samples:
        for key, place in one.stack.libraries.items():
            seconds[key] += one.seconds
            places[key].append(place)
    half = sum(one.seconds for one in samples) / 2
    return max(
        (key for key in places if seconds[key] >= half),
        key=lambda key: sum(places[key]) / len(places[key]),
        default=None,
    )


def at_work_for(sample: Sample) -> str:
    """The route that a library was at work for, else the coroutine, else nothing."""
    route = None if sample.borrowed is None else sample.borrowed.route
    return route or sample.callback.coroutine or ""


def without_ours(raw: tuple[RawFrame, ...]) -> tuple[RawFrame, ...]:
    """A stack without the frames of this package."""
    return tuple(frame for frame in raw if not _is_ours(frame))


def _is_ours(frame: RawFrame) -> bool:
    return frame[2].partition(".")[0] == OURS


def classifier(rules: InAppRules) -> Classified:
    """`classify`, remembered, for neighbouring samples share most frames."""
    known: dict[tuple[int, int, str], CodeFrame] = {}

    def classified(raw: RawFrame) -> CodeFrame:
        # By identity: the hash of a code object is that of all it contains.
        key = (id(raw[0]), raw[1], raw[2])
        frame = known.get(key)
        if frame is None:
            frame = known[key] = classify(raw, rules)
        return frame

    return classified


def without_machinery_below(frames: tuple[CodeFrame, ...]) -> tuple[CodeFrame, ...]:
    """Drop the event loop's frames below the callback, unless there is nothing else."""
    for place, frame in enumerate(frames):
        if not frame.machinery:
            return frames[place:]
    return frames


def resolved(frames: tuple[CodeFrame, ...]) -> tuple[CodeFrame, ...]:
    """The frames of a stack, outermost first, with what only their neighbours tell.

    Which ones are only passed through; and that code of which no rule knows whose it is is taken
    for the application's where nothing else on the stack certainly is.
    """
    frames = _with_pass_through(frames)
    if any(frame.may_be_culprit for frame in frames):
        return frames
    if not any(frame.whose is Whose.UNKNOWN for frame in frames):
        return frames
    return _with_pass_through(
        tuple(frame.as_application if frame.whose is Whose.UNKNOWN else frame for frame in frames)
    )


def _with_pass_through(frames: tuple[CodeFrame, ...]) -> tuple[CodeFrame, ...]:
    told = list(frames)
    called_by: str | None = None
    for place, frame in enumerate(frames):
        if frame.machinery:
            continue
        if not _only_awaits(frame):
            called_by = frame.package if frame.whose is Whose.LIBRARY else None
        elif called_by is not None and _calls_on(frames[place + 1 :], called_by):
            told[place] = frame.as_pass_through
    return tuple(told)


def _only_awaits(frame: CodeFrame) -> bool:
    return frame.in_app and is_awaiting(frame.code, frame.last_instruction)


def _calls_on(inner: tuple[CodeFrame, ...], library: str) -> bool:
    """Whether a library goes on inside of a frame, before other code of the application does."""
    for frame in inner:
        if frame.whose is Whose.LIBRARY and frame.package == library:
            return True
        if frame.whose is Whose.UNKNOWN or (frame.in_app and not _only_awaits(frame)):
            return False
    return False


def outermost_import(frames: tuple[CodeFrame, ...]) -> int | None:
    """The place of the import system's outermost frame; None outside of imports.

    Where a library imports the application, as a server does, it is the outermost import that the
    application itself asked for: what its module does apart from that is its own.
    """
    found = None
    for place, frame in enumerate(frames):
        if not _imports(frame) or (place > 0 and _imports(frames[place - 1])):
            continue
        if any(outer.in_app for outer in frames[:place]):
            return place
        if found is None:
            found = place
    by_library = bool(found) and not any(frame.in_app for frame in frames)
    return found if by_library else None


def _imports(frame: CodeFrame) -> bool:
    return frame.code.co_filename == IMPORT_MACHINERY or frame.module == "importlib"


def culprit_index(frames: tuple[CodeFrame, ...]) -> int | None:
    """The innermost in-app frame, else the innermost one that is not the event loop's."""
    inwards = innermost_to_blame(reversed(frames))
    return None if inwards is None else len(frames) - 1 - inwards


def innermost_to_blame(innermost_first: Iterable[CodeFrame]) -> int | None:
    """The same, counted from the innermost frame.

    Without the application's code a library's goes before the standard library's, in which all of
    them wait and compute, and that before code of no module.
    """
    of_library = of_python = of_nobody = None
    for place, frame in enumerate(innermost_first):
        if frame.may_be_culprit:
            return place
        if frame.whose is Whose.LIBRARY or frame.whose is Whose.UNKNOWN:
            of_library = place if of_library is None else of_library
        elif frame.whose is Whose.STANDARD_LIBRARY:
            of_python = place if of_python is None else of_python
        elif frame.whose is Whose.NOBODY:
            of_nobody = place if of_nobody is None else of_nobody
    return next((one for one in (of_library, of_python, of_nobody) if one is not None), None)


def dotted(key: Key) -> str:
    """The name of who is to blame, as `Culprit.name` has it: `shop.pricing.price_all`."""
    return ".".join(filter(None, key[:2]))


def callback_key(callback: Callback) -> Key:
    """The name of the callback itself, for a C function without a Python frame."""
    if callback.function is not None:
        return (callback.module or "", callback.function)
    return ("", callback.coroutine or callback.task or "unknown callback")
