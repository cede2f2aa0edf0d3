"""Runs on the watcher thread: what a class is called, without running code of its metaclass.

`cls.__module__` asks the metaclass first, which may be the application's. What is read here are
`type`'s own descriptors, functions of C.
"""

from __future__ import annotations

from typing import Any

# Flags of a type object (object.h): made at run time; not to be changed, as those of C are.
_HEAP_TYPE = 1 << 9
_IMMUTABLE = 1 << 8

_OF_TYPE: Any = type.__dict__
_NAME = _OF_TYPE["__qualname__"].__get__
_MODULE = _OF_TYPE["__module__"].__get__
_FLAGS = _OF_TYPE["__flags__"].__get__


def plain(text: str) -> str:
    """The same as `str` alone: a class of its own may have methods of its own."""
    return str.__str__(text)


def name_of(cls: type) -> str:
    """The qualified name of a class."""
    return plain(_NAME(cls))


def module_of(cls: type) -> str | None:
    """The module of a class, None where something else than text says so."""
    module = _MODULE(cls)
    return module if type(module) is str else None


def is_of_c(cls: type) -> bool:
    """Whether a class was not made by a `class` statement: to call it shows no Python frame."""
    flags: int = _FLAGS(cls)
    return flags & (_HEAP_TYPE | _IMMUTABLE) != _HEAP_TYPE


def with_package(cls: type) -> str:
    """A class with its package: `uvloop.Loop`, `asyncio._UnixSelectorEventLoop`."""
    package = package_of(cls)
    return f"{package}.{name_of(cls)}" if package else name_of(cls)


def package_of(cls: type) -> str:
    """The first part of the module of a class, empty where nobody knows it."""
    return (module_of(cls) or "").partition(".")[0]
