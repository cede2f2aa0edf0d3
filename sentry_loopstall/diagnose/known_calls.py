"""Pure: runs anywhere. Calls known by name: what waits without the GIL, what asks for a collection.

No line of source is read for that, and nothing of the application is asked.
"""

from __future__ import annotations

import dis
import gc
import sys
from itertools import repeat
from operator import is_
from types import CodeType, ModuleType

from ..recording import RawFrame
from .in_app import CodeFrame, is_standard_library
from .instructions import called_name, called_names

# Calls that wait whoever makes them, and let go of the GIL meanwhile.
_WAITS = frozenset(
    {
        *(
            "sleep",
            "nanosleep",
            "pause",
            "wait",
            "wait_for",
            "acquire",
            "waitpid",
            "wait3",
            "wait4",
        ),
        *("waitid", "sigwait", "sigwaitinfo", "sigtimedwait", "select", "poll", "control"),
        *("accept", "connect", "recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg"),
        *("recvmsg_into", "recv_bytes", "recv_bytes_into", "do_handshake", "getaddrinfo"),
        *("gethostbyname", "lockf", "flock", "_wait_for_tstate_lock"),
        *("WaitForSingleObject", "WaitForMultipleObjects", "GetQueuedCompletionStatus"),
        # A loop written in C polls there.
        *("run_forever", "run_until_complete"),
    }
)
# Names that much else has, too: `dict.get`, `str.join`.
_MAY_WAIT = frozenset(
    {
        *("get", "put", "join", "read", "read1", "readinto", "readline", "write", "send"),
        *("sendall", "sendto", "result", "communicate", "fetchall", "fetchone", "execute", "query"),
    }
)
# Functions of C that compute, and let go of the GIL meanwhile: of hashlib, bcrypt, zlib, bz2, lzma.
_COMPUTES_WITHOUT_GIL = frozenset(
    {
        *("pbkdf2_hmac", "scrypt", "hashpw", "checkpw", "kdf"),
        *("compress", "decompress", "crc32", "adler32"),
    }
)
_GC = "gc"


def waits(frames: tuple[RawFrame, ...], *, idle: bool = False) -> bool:
    """Whether a stack, innermost frame first, stands in a call that waits without the GIL.

    `idle`: the thread used no CPU, so that a call which may wait is taken to do so.
    """
    if not frames:
        return True
    code, last_instruction, _ = frames[0]
    name = called_name(code, last_instruction)
    if name in _WAITS or name == "__enter__":
        return True
    return name in _MAY_WAIT and (idle or is_standard_library(code.co_filename))


def computes_without_gil(frames: tuple[RawFrame, ...]) -> bool:
    """Whether a stack, innermost frame first, stands in a call that needs no GIL for its work."""
    return bool(frames) and called_name(*frames[0][:2]) in _COMPUTES_WITHOUT_GIL


def waits_for_new_thread(frames: tuple[CodeFrame, ...]) -> bool:
    """Whether `Thread.start()` waits for the first step of the new thread, which needs a CPU."""
    for frame in reversed(frames):
        if frame.module != "threading":
            return False
        if frame.code.co_qualname == "Thread.start":
            return True
    return False


def asks_for_collection(frames: tuple[CodeFrame, ...]) -> bool:
    """Whether one of the frames calls `gc.collect()`, by that name or by one it was given."""
    return any(_is_collect(frame) for frame in reversed(frames) if not frame.machinery)


def _is_collect(frame: CodeFrame) -> bool:
    code = frame.code
    # Most code has neither the name nor a name of its module's that stands for it.
    if "collect" not in code.co_names and not (
        len(code.co_names) and _means_collect(frame.module, code.co_names)
    ):
        return False
    names = called_names(code, frame.last_instruction)
    if not names:
        return False
    if names[-1] == "collect":
        return True
    return len(names) == 1 and (
        bool(_means_collect(frame.module, names)) or names[0] in _imported_as(code)
    )


def _means_collect(module: str, names: tuple[str, ...]) -> bool:
    """Whether one of these names is `gc.collect` in a module that is loaded."""
    owner = sys.modules.get(module)
    if not issubclass(type(owner), ModuleType):
        return False
    namespace = object.__getattribute__(owner, "__dict__")
    # In one call of C: no object of the application's is in our hands between two bytecodes.
    return any(map(is_, map(dict.get, repeat(namespace), names), repeat(gc.collect)))


def _imported_as(code: CodeType) -> frozenset[str]:
    """The names that a function itself gives to `gc.collect` when it imports it."""
    names = set()
    module = None
    imported = False
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            module = instruction.argval
        elif instruction.opname == "IMPORT_FROM":
            imported = module == _GC and instruction.argval == "collect"
        elif imported and instruction.opname.startswith("STORE_"):
            names.add(str(instruction.argval))
            imported = False
    return frozenset(names)
