"""Pure: runs anywhere. What a frame calls, by its byte code and by what its module holds.

While a function of C runs there is no frame of it, only the instruction that called it. Names in
the code are looked up where the code itself finds them: in its module, among the builtins, or where
the function imports or makes a thing itself. What cannot be known so is not guessed from the text.
"""

from __future__ import annotations

import builtins
import dis
import inspect
import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodDescriptorType,
    ModuleType,
)
from typing import Any, NamedTuple

from ..recording import KnownFunction, RawFrame
from .in_app import CodeFrame, file_of

_RUNS_LATER = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
ENTER = "__enter__"

# What stands between the parts of an expression and is none of them: it prepares arguments.
_NO_PART = frozenset(
    (
        *(
            "BUILD_LIST",
            "BUILD_MAP",
            "BUILD_TUPLE",
            "CALL_INTRINSIC_1",
            "DICT_MERGE",
            "DICT_UPDATE",
        ),
        *("LIST_APPEND", "LIST_EXTEND", "LIST_TO_TUPLE", "LOAD_CONST", "MAP_ADD", "PUSH_NULL"),
    )
)
_NOTHING = frozenset(("CACHE", "EXTENDED_ARG", "KW_NAMES", "NOP", "NOT_TAKEN", "PRECALL"))
_OF_VARIABLES = ("LOAD_FAST", "LOAD_DEREF", "LOAD_CLOSURE")
_OF_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_CALLS = frozenset(("CALL", "CALL_KW", "CALL_FUNCTION_EX"))
# How a `with` statement enters what it is given: until 3.13 in one instruction.
_ENTERS = frozenset(("BEFORE_WITH", "COPY", "LOAD_SPECIAL", "SWAP"))

# What comes of a call, as far as a method of C's is called on it later: module and class.
_GIVES: Mapping[str, tuple[str, str]] = {
    "_hashlib.openssl_md5": ("_hashlib", "HASH"),
    "_hashlib.openssl_sha1": ("_hashlib", "HASH"),
    "_hashlib.openssl_sha256": ("_hashlib", "HASH"),
    "_hashlib.openssl_sha512": ("_hashlib", "HASH"),
    "_io.open": ("_io", "TextIOWrapper"),  # or one that is read in bytes, and waits all the same
    "_sqlite3.connect": ("_sqlite3", "Connection"),
    "_thread.allocate_lock": ("_thread", "LockType"),
    "io.open": ("_io", "TextIOWrapper"),
    "re.compile": ("re", "Pattern"),
    "socket.create_connection": ("socket", "socket"),
    "sqlite3.Connection.cursor": ("_sqlite3", "Cursor"),
    "sqlite3.Connection.execute": ("_sqlite3", "Cursor"),
    "sqlite3.Cursor.execute": ("_sqlite3", "Cursor"),
    "threading.RLock": ("_thread", "RLock"),
}


class Made(NamedTuple):
    """An instance of a class."""

    of: type


class Called(NamedTuple):
    """What a frame calls: `name` is dotted, as the thing itself has it, `_thread.lock.acquire`.

    None where that is not known. `attribute` is the last part of how the code calls it.
    """

    name: str | None
    attribute: str | None


NOTHING = Called(None, None)

Functions = Mapping[str, KnownFunction]
"""Functions by how the code calls what it has in a variable: `handler`, `dependant.call`."""

NO_FUNCTIONS: Functions = {}

# A module, a class, a function of C's or of Python's, an instance's class, or nothing known.
Value = ModuleType | type | str | Made | None


def called_by(frame: CodeFrame) -> Called:
    """What the instruction calls that a frame stands on, or what its `with` statement enters."""
    if not frame.evaluates or frame.last_instruction < 0:
        return NOTHING
    instructions = _instructions(frame.code)
    index = _index_of(instructions, frame.last_instruction)
    if index is None:
        return NOTHING
    reader = _Reader(frame.module, frame.code, instructions)
    entered = _entered_at(instructions, index)
    if entered is not None:
        return Called(_name(_attribute(reader.value_at(entered), ENTER)), ENTER)
    if instructions[index].opname not in _CALLS:
        return NOTHING
    return _call_at(reader, instructions, index)


def _index_of(instructions: tuple[dis.Instruction, ...], offset: int) -> int | None:
    return next((at for at, one in enumerate(instructions) if one.offset == offset), None)


def _call_at(reader: _Reader, instructions: tuple[dis.Instruction, ...], index: int) -> Called:
    """What a call calls, by the place of its instruction."""
    *callee, _ = reader.parts_of(index)
    attribute = instructions[callee[-1]].argval if callee else None
    name = _name(reader.value_of(callee))
    return Called(name, attribute if isinstance(attribute, str) else None)


def function_called_at(
    frame: RawFrame, known: Functions = NO_FUNCTIONS
) -> tuple[CodeType, str, Functions] | None:
    """The code and the module of the function of Python that a frame calls, or awaits, by a name.

    `known` are those that its variables hold. Told are those, too, that are in the arguments of the
    function called. None if it is a method of an object that nobody knows, or nothing that its
    module holds.
    """
    code, last_instruction, module = frame
    instructions = _instructions(code)
    index = _index_of(instructions, last_instruction)
    if index is None:
        return None
    is_awaited = instructions[index].opname == "SEND"
    if is_awaited:
        # Between the two stands what is sent first.
        before = (at for at in range(index, 0, -1) if instructions[at].opname == "GET_AWAITABLE")
        index = next(before, 0) - 1
    if index < 0 or instructions[index].opname not in _CALLS:
        return None
    reader = _Reader(module, code, instructions)
    found = _function_at(reader, instructions, index, known)
    if found is None or bool(found.code.co_flags & inspect.CO_COROUTINE) is not is_awaited:
        return None
    # What runs as it is resumed, later and by others, has no end of its own here.
    if found.code.co_flags & _RUNS_LATER:
        return None
    given: Functions = NO_FUNCTIONS
    if known:
        callee = reader.parts_of(index)[:-1]
        given = _in_arguments(instructions, callee, index, found, known)
    return found.code, found.module, {**dict(found.inside), **given}


def maker_called_at(frame: RawFrame, known: Functions = NO_FUNCTIONS) -> KnownFunction | None:
    """The function that a call calls, if that only makes a coroutine or a generator of it."""
    code, at, module = frame
    instructions = _instructions(code)
    index = _index_of(instructions, at)
    if index is None or instructions[index].opname not in _CALLS:
        return None
    reader = _Reader(module, code, instructions)
    found = _function_at(reader, instructions, index, known)
    makes = found is not None and found.code.co_flags & (_RUNS_LATER | inspect.CO_COROUTINE)
    return found if makes else None


def _function_at(
    reader: _Reader, instructions: tuple[dis.Instruction, ...], index: int, known: Functions
) -> KnownFunction | None:
    """The function of Python that a call calls, by the place of its instruction."""
    name = _call_at(reader, instructions, index).name
    found = None if name is None else _function_named(name)
    return found or known.get(_path(instructions, reader.parts_of(index)[:-1]))


def _path(instructions: tuple[dis.Instruction, ...], parts: list[int]) -> str:
    """How the code calls something that it has in a variable: `dependant.call`; else nothing."""
    names: list[str] = []
    for number, at in enumerate(parts):
        one = instructions[at]
        loads = _OF_VARIABLES if number == 0 else _OF_ATTRIBUTES
        if not one.opname.startswith(loads) or not isinstance(one.argval, str):
            return ""
        names.append(one.argval)
    return ".".join(names)


def _in_arguments(
    instructions: tuple[dis.Instruction, ...],
    callee: list[int],
    call: int,
    function: KnownFunction,
    known: Functions,
) -> Functions:
    """What is known of the variables that a function is given, by its own names for them."""
    path, code = _path(instructions, callee), function.code
    given = [path.rpartition(".")[0]] if function.has_self else []
    last = callee[-1] if callee else call
    for one in instructions[last + 1 : call]:
        if one.opname.startswith(_OF_VARIABLES):
            given += one.argval if isinstance(one.argval, tuple) else (one.argval,)
        elif one.opname.startswith("LOAD_"):
            given.append("")
        elif one.opname != "PUSH_NULL":
            return NO_FUNCTIONS  # more than names: which argument is which is not known
    names = zip(code.co_varnames[: code.co_argcount], given, strict=False)
    return {
        name + path[len(outer) :]: found
        for name, outer in names
        if outer
        for path, found in known.items()
        if path == outer or path.startswith(f"{outer}.")
    }


def _function_named(name: str) -> KnownFunction | None:
    """The code of a function of Python, by its dotted name: `shop.pricing.Basket.total`."""
    module, _, rest = name.rpartition(".")
    while module and module not in sys.modules:
        module, _, more = module.rpartition(".")
        rest = f"{more}.{rest}"
    owner: Any = sys.modules.get(module)
    if type(owner) is not ModuleType:
        return None
    *owners, last = rest.split(".")
    for part in owners:
        owner = vars(owner).get(part)
        if type(owner) is not type:
            return None
    function = vars(owner).get(last)
    if type(function) is not FunctionType:
        return None
    return KnownFunction(function.__code__, module, has_self=bool(owners))


@lru_cache(maxsize=64)
def _instructions(code: CodeType) -> tuple[dis.Instruction, ...]:
    return tuple(one for one in dis.get_instructions(code) if one.opname not in _NOTHING)


def _entered_at(instructions: tuple[dis.Instruction, ...], index: int) -> int | None:
    """Where what a `with` statement enters is evaluated, if the instruction enters it."""
    one, before = instructions[index], instructions[index - 1] if index else None
    calls_enter = (
        one.opname == "CALL"
        and before is not None
        and before.opname == "LOAD_SPECIAL"
        and ENTER in before.argrepr
    )
    if one.opname != "BEFORE_WITH" and not calls_enter:
        return None
    index -= 1
    while index >= 0 and instructions[index].opname in _ENTERS:
        index -= 1
    return index if index >= 0 else None


class _Reader:
    """Looks up what expressions of a function are."""

    def __init__(
        self, module: str, code: CodeType, instructions: tuple[dis.Instruction, ...]
    ) -> None:
        self._code = code
        self._instructions = instructions
        self._module = module

    def parts_of(self, index: int) -> list[int]:
        """The instructions of an expression that ends with one: `time`, `.sleep`, the call.

        They begin at the same place in the source; arguments begin later.
        """
        begin = _begin(self._instructions[index])
        if begin is None:
            return [index]
        return [
            at
            for at, one in enumerate(self._instructions[: index + 1])
            if _begin(one) == begin and one.opname not in _NO_PART
        ]

    def value_at(self, index: int) -> Value:
        """What the expression is that ends with an instruction."""
        return self.value_of(self.parts_of(index))

    def value_of(self, parts: list[int]) -> Value:
        """What an expression is, part by part."""
        value: Value = None
        for number, at in enumerate(parts):
            one = self._instructions[at]
            name = one.argval if isinstance(one.argval, str) else None
            if number == 0 and one.opname in ("LOAD_GLOBAL", "LOAD_NAME") and name:
                value = self._global(name)
            elif number == 0 and one.opname.startswith("LOAD_FAST") and name:
                value = self._local(name)
            elif number and one.opname in ("LOAD_ATTR", "LOAD_METHOD") and name:
                value = _attribute(value, name)
            elif number and one.opname in _CALLS:
                value = _result(value)
            else:
                return None
            if value is None:
                return None
        return value

    def _global(self, name: str) -> Value:
        if self._is_stored(name, ("STORE_NAME",)) and self._code.co_name != "<module>":
            return None  # a class's own
        for namespace in (_namespace(self._module, self._code.co_filename), vars(builtins)):
            if namespace is None:
                return None
            if name in namespace:
                return _found(namespace, name)
        return None

    def _is_stored(self, name: str, operations: tuple[str, ...]) -> bool:
        return any(one.opname in operations and one.argval == name for one in self._instructions)

    def _local(self, name: str) -> Value:
        """What a variable is that the function sets in one place, to what it imports or makes."""
        code = self._code
        if name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            return None
        stores = [
            at
            for at, one in enumerate(self._instructions)
            if one.opname.startswith(("STORE_FAST", "DELETE_FAST"))
            and (one.argval == name or (isinstance(one.argval, tuple) and name in one.argval))
        ]
        if len(stores) != 1 or stores[0] == 0:
            return None
        before = stores[0] - 1
        one = self._instructions[before]
        if one.opname == "IMPORT_NAME":
            return self._imported(before)
        if one.opname == "IMPORT_FROM":
            importing = before - 1
            return _attribute(self._imported(importing), str(one.argval))
        entered = _entered_at(self._instructions, before)
        value = self.value_at(before if entered is None else entered)
        # What is made of C enters as itself.
        return value if isinstance(value, Made) else None

    def _imported(self, at: int) -> Value:
        one = self._instructions[at]
        if one.opname != "IMPORT_NAME" or not isinstance(one.argval, str):
            return None
        # `import a.b` gives `a`, `from a.b import c` asks `a.b`; both absolute only.
        level, names = self._instructions[at - 2], self._instructions[at - 1]
        if level.argval != 0:
            return None
        name = one.argval.partition(".")[0] if names.argval is None else one.argval
        module = sys.modules.get(name)
        return module if type(module) is ModuleType else None


def _begin(one: dis.Instruction) -> tuple[int, int] | None:
    position = one.positions
    if position is None or position.lineno is None or position.col_offset is None:
        return None
    return position.lineno, position.col_offset


def _namespace(module: str, filename: str) -> dict[str, Any] | None:
    """What a loaded module holds, if the code is its own; the module itself is not asked."""
    owner = sys.modules.get(module)
    file = file_of(module)
    if type(owner) is not ModuleType or file is None:
        return None
    if file != filename and os.path.abspath(file) != os.path.abspath(filename):
        return None
    namespace: dict[str, Any] = object.__getattribute__(owner, "__dict__")
    return namespace


def _found(namespace: dict[str, Any], name: str) -> Value:
    """What a name stands for. An object of the application's is asked for its class only.

    That is one call of C, so that nothing of the application's is ever in our hands.
    """
    kinds = tuple(map(type, map(dict.get, (namespace,), (name,))))
    kind = kinds[0]
    if kind in (ModuleType, BuiltinFunctionType, FunctionType, type):
        return _known(dict.get(namespace, name))
    return _instance(kind)


def _known(found: object) -> Value:
    kind = type(found)
    if kind is ModuleType or kind is type:
        return found  # type: ignore[return-value]  # by its exact class, which mypy cannot follow
    return _of_function(found) if isinstance(found, BuiltinFunctionType | FunctionType) else None


def _of_function(found: BuiltinFunctionType | FunctionType) -> str | None:
    module, qualname = found.__module__, found.__qualname__
    return f"{module}.{qualname}" if type(module) is str else None


def _instance(kind: type) -> Made | None:
    """An instance of a class; what one does that has a metaclass nobody knows."""
    return Made(kind) if type(kind) is type else None


def _attribute(value: Value, name: str) -> Value:
    if isinstance(value, ModuleType):
        namespace: dict[str, Any] = object.__getattribute__(value, "__dict__")
        return _found(namespace, name) if name in namespace else None
    if isinstance(value, Made):
        return _method(value.of, name)
    if isinstance(value, type):
        return _method(value, name)
    return None


def _method(kind: type, name: str) -> str | None:
    """The method that a class has by that name, with the class that it is defined in."""
    for owner in kind.__mro__:
        found = vars(owner).get(name)
        if type(found) is FunctionType:
            return _of_function(found)
        if type(found) is MethodDescriptorType:
            defines = found.__objclass__
            return f"{defines.__module__}.{defines.__qualname__}.{name}"
        if found is not None:
            return None
    return None


def _result(value: Value) -> Value:
    if isinstance(value, type):
        return _instance(value)
    module, name = _GIVES.get(value, ("", "")) if isinstance(value, str) else ("", "")
    owner = sys.modules.get(module)
    kind = vars(owner).get(name) if owner is not None else None
    return _instance(kind) if isinstance(kind, type) else None


def _name(value: Value) -> str | None:
    return value if isinstance(value, str) else None
