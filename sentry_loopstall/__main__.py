"""Runs on the main thread: a program under detection, its stalls in the terminal."""

from __future__ import annotations

import atexit
import builtins
import os
import pkgutil
import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import cast

from .detection import Detection
from .options import Options
from .report.terminal.colours import wants_colour
from .report.terminal.console import Console, writer
from .report.terminal.page import Page

COMMAND = "python -m sentry_loopstall"
THRESHOLD = 0.1  # seconds; asyncio's own idea of slow
HANG_AFTER = 5.0  # seconds
USAGE = f"""\
usage: {COMMAND} [--threshold SECONDS] script.py [arguments ...]
       {COMMAND} [--threshold SECONDS] -m module [arguments ...]
"""
HELP = f"""\
{USAGE}
Run a program and print to stderr what blocks its asyncio event loop: the line, for how long,
why, and what to do about it. The program's own output and exit status stay what they are.

options:
  --threshold SECONDS  print what blocks for this long or longer (default: {THRESHOLD})
  -m module            run a module or package, as `python -m` does
  -h, --help           print this text
"""

Program = Callable[[], object]


class UsageError(Exception):
    """What was typed cannot be run; the message says why."""


@dataclass(frozen=True, slots=True)
class Command:
    """What was typed; `name` is a script, folder or zip file, or a module's if `is_module`."""

    options: Options
    name: str
    is_module: bool
    arguments: tuple[str, ...]


def parse(typed: Sequence[str]) -> Command | None:
    """Read our own options, and nothing after the program's name; None to print the help.

    Raises:
        UsageError: there is no program to run, or an option is wrong.
    """
    threshold = str(THRESHOLD)
    left = list(typed)
    while left:
        word = left.pop(0)
        option, equals, value = word.partition("=")
        if word in ("-h", "--help"):
            return None
        if option == "--threshold":
            threshold = value if equals else _value(option, left)
        elif word == "-m":
            name = _value(word, left)
            return Command(_options(threshold), name, is_module=True, arguments=tuple(left))
        elif word.startswith("-"):
            msg = f"there is no option {word}"
            raise UsageError(msg)
        else:
            return Command(_options(threshold), word, is_module=False, arguments=tuple(left))
    msg = "which program? Give a script, or -m and a module"
    raise UsageError(msg)


def _value(option: str, left: list[str]) -> str:
    if not left:
        msg = f"{option} needs a value"
        raise UsageError(msg)
    return left.pop(0)


def _options(threshold: str) -> Options:
    try:
        seconds: object = float(threshold)
    except ValueError:
        seconds = threshold
    try:
        # Without the environment: what it says is for the integration in production.
        options = Options.from_keywords({"threshold": seconds, "hang_after": None}, {})
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error
    return options._replace(hang_after=HANG_AFTER if options.threshold < HANG_AFTER else None)


def prepare(command: Command) -> Program:
    """Set `sys.argv` and `sys.path` as plain `python` would, and give what is to be run.

    Raises:
        UsageError: there is no such script.
    """
    if command.is_module:
        # runpy puts the file's path in place of the "-m" once it has found it.
        sys.argv[:] = ["-m", *command.arguments]
        return partial(_run_as_main, command.name, alter_argv=True)
    path = command.name
    if pkgutil.get_importer(_absolute(path)) is not None:  # a folder or a zip file
        program: Program = partial(_run_as_main, "__main__", alter_argv=False)
        _set_first_path(_absolute(path), even_if_safe=True)
    else:
        program = _script(path)
        _set_first_path(os.path.dirname(os.path.realpath(path)))
    sys.argv[:] = [path, *command.arguments]
    return program


def _absolute(path: str) -> str:
    # As Python does it: `./job.py` is not tidied up.
    return os.path.join(os.getcwd(), path)


def _set_first_path(folder: str, *, even_if_safe: bool = False) -> None:
    if not sys.flags.safe_path:
        sys.path[0] = folder  # instead of the current folder, which our own `-m` put there
    elif even_if_safe:
        sys.path.insert(0, folder)


def _run_as_main(name: str, *, alter_argv: bool) -> None:
    _new_main()
    # What the interpreter itself calls for `-m`, a folder or a zip file.
    runpy._run_module_as_main(name, alter_argv)  # type: ignore[attr-defined]  # noqa: SLF001


def _script(path: str) -> Program:
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        msg = f"can't open file {_absolute(path)!r}: [Errno {error.errno}] {error.strerror}"
        raise UsageError(msg) from error

    def run() -> None:
        main = _new_main()
        filename = _absolute(path)
        main.__file__ = filename
        if path.endswith(".pyc"):
            main.__loader__ = loader = SourcelessFileLoader("__main__", filename)
            code = cast(CodeType, loader.get_code("__main__"))
        else:
            main.__loader__ = SourceFileLoader("__main__", filename)
            code = compile(source, filename, "exec", dont_inherit=True)
        exec(code, vars(main))  # noqa: S102 - this is what was asked for

    return run


def _new_main() -> ModuleType:
    """A `__main__` as the interpreter makes it, in place of this module."""
    main = ModuleType("__main__")
    names = vars(main)
    names["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        names["__annotations__"] = {}
    if sys.version_info < (3, 15):
        names["__cached__"] = None
    sys.modules["__main__"] = main
    return main


def run(program: Program) -> None:
    """Run the program; what it raises shows the traceback that plain `python` would show."""
    try:
        program()
    except SystemExit:
        raise
    except BaseException:
        _hide_our_frames()
        raise


def _hide_our_frames() -> None:
    """Have the exception that ends the interpreter shown without the frames below the program.

    It has to leave through them all the same: that is how a Ctrl-C gets its exit status.
    """
    shown_by = getattr(sys, "excepthook", None)
    if shown_by is None:
        return

    def excepthook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        sys.excepthook = shown_by
        shown = sys.last_traceback = _of_the_program(traceback)
        shown_by(kind, error.with_traceback(shown), shown)

    sys.excepthook = excepthook


def _of_the_program(traceback: TracebackType | None) -> TracebackType | None:
    place = traceback
    while place is not None and place.tb_frame.f_code is not run.__code__:
        place = place.tb_next
    if place is None:  # raised outside of the program
        return traceback
    while place is not None and place.tb_frame.f_globals is globals():
        place = place.tb_next
    return place


def listen(options: Options) -> None:
    """Detect from now on; print stalls as they come, and a summary at the very end."""
    page = Page(colour=wants_colour(sys.stderr), folder=os.getcwd())
    console = Console(options, writer(sys.stderr), page)
    detection = Detection(lambda: options, console.tell)

    def finish() -> None:
        detection.finish()
        console.summarize(detection.summary())

    # Before the program registers anything: so it comes last.
    atexit.register(finish)
    detection.install()


def main() -> None:
    """The command."""
    try:
        command = parse(sys.argv[1:])
        if command is None:
            print(HELP, end="")  # noqa: T201 - it is what was asked for
            return
        program = prepare(command)
    except UsageError as error:
        print(USAGE, f"{COMMAND}: {error}", sep="\n", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    listen(command.options)
    run(program)


if __name__ == "__main__":
    main()
