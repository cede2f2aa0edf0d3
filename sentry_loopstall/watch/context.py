"""Runs on the watcher thread: whose callback is it, and its `contextvars.Context` copied.

Names are read without running code of the application: only from objects of CPython's own
types, whose attributes cannot be overridden.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
from collections.abc import Callable, Iterator
from contextvars import Context
from functools import partial
from operator import is_not
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, TypeGuard

from ..recording import Callback
from .class_names import is_of_c, module_of, name_of, plain

# `sentry_sdk.integrations.asyncio` names the tasks it wraps so.
_SENTRY_SUFFIX = " (Sentry-wrapped)"

_IS_THERE = partial(is_not, None)
# `asyncio.current_task` is a function of Python's in 3.11, around this.
_TASK_OF: Callable[[Any], Any] = (
    asyncio.current_task if sys.version_info >= (3, 12) else asyncio.tasks._current_tasks.get  # type: ignore[attr-defined, unused-ignore]
)


def present_task(loop: Any) -> Iterator[Any]:
    """The task the loop is running, if any; of C, lazily, and right from another thread, too.

    On CPython 3.11 to 3.15 (tested).
    """
    return filter(_IS_THERE, map(_TASK_OF, (loop,)))


def is_task(thing: Any) -> TypeGuard[asyncio.Task[Any]]:
    """Whether something is a task whose attributes can be read.

    Where `Task.__init__` never ran, as with Granian's `--task-impl=rust`, CPython 3.11 to 3.13
    crash when its coroutine or its context is asked for. This it refuses.
    """
    if not issubclass(type(thing), asyncio.Task):
        return False
    try:
        # Through the class, here and below: a subclass may override what it inherits.
        asyncio.Task.get_loop(thing)
    except RuntimeError:
        return False
    return True


def describe_task(task: asyncio.Task[Any], number: int | None) -> Callback:
    """A task by its name and its coroutine's qualified name."""
    name: str | None = asyncio.Task.get_name(task)
    coroutine = coroutine_name(asyncio.Task.get_coro(task))
    if name is not None and name.endswith(_SENTRY_SUFFIX):
        name = name[: -len(_SENTRY_SUFFIX)]
    if name == "None":  # CPython 3.13.0 names the tasks of a task factory so
        name = None
    return Callback(number=number, task=name, coroutine=coroutine)


def coroutine_name(coroutine: Any) -> str | None:
    """The qualified name of a coroutine, or of its type where it is not CPython's own."""
    if coroutine is None:
        return None
    if type(coroutine) in (CoroutineType, GeneratorType):
        return plain(coroutine.__qualname__)
    return name_of(type(coroutine))


def describe_handle(handle: Any, number: int | None) -> Callback:
    """A plain callback by the function the loop called, never by its arguments."""
    function = unwrap(getattr(handle, "_callback", None))
    if function is None:
        return Callback(number=number)
    if type(function) is FunctionType:
        module = _text(function.__module__)
        return Callback(number, module=module, function=plain(function.__qualname__))
    if issubclass(type(function), _C_FUNCTIONS):
        module, name = _of_c(function)
        return Callback(number, module=module, function=name, is_c=True)
    # A class is called by its own name. Of some object with `__call__` the attributes are the
    # application's, its class's are not.
    called = function if issubclass(type(function), type) else type(function)
    return Callback(
        number, module=module_of(called), function=name_of(called), is_c=is_of_c(called)
    )


def unwrap(function: Any) -> Any:
    """The function behind partials and bound methods."""
    while True:
        if type(function) is functools.partial:
            function = function.func
        elif type(function) is MethodType:
            function = function.__func__
        else:
            return function


def unwrap_bound(function: Any) -> Any:
    """The object that a step or wake-up of a C task is bound to, None for anything else."""
    if is_builtin(function) or name_of(type(function)) == "TaskStepMethWrapper":
        return function.__self__
    if type(function) is MethodType:
        return function.__self__
    return None


def is_builtin(function: Any) -> bool:
    """Whether it is a function of C, or a bound method, of either of two types."""
    return issubclass(type(function), BuiltinFunctionType)


_C_FUNCTIONS = (
    BuiltinFunctionType,
    MethodDescriptorType,
    ClassMethodDescriptorType,
    MethodWrapperType,
    WrapperDescriptorType,
)


def _of_c(function: Any) -> tuple[str | None, str]:
    """Module and name of a function of C: `time`, `sleep`, or `builtins`, `list.append`.

    Its own qualified name would have to ask the class for its name, and so that one's metaclass.
    """
    if is_builtin(function):
        bound: Any = function.__self__
        if bound is None or type(bound) is ModuleType:
            return _text(function.__module__), function.__name__
        owner: Any = bound if issubclass(type(bound), type) else type(bound)
    else:
        owner = function.__objclass__
    return module_of(owner), f"{name_of(owner)}.{function.__name__}"


def _text(module: object) -> str | None:
    return module if type(module) is str else None


def context_of_task(task: asyncio.Task[Any]) -> Context | None:
    """The context a task runs in; entering it would raise."""
    if sys.version_info >= (3, 12):
        return asyncio.Task.get_context(task)
    # 3.11 has no accessor; the task's own context is the first one it refers to.
    for referent in gc.get_referents(task):
        if type(referent) is Context:
            return referent
    return None


def context_of_handle(handle: Any) -> Context | None:
    """The context of a plain callback on an asyncio loop."""
    context = getattr(handle, "_context", None)
    return context if type(context) is Context else None


def copy_of(context: Context | None) -> Context | None:
    """A copy, which can be entered, and stays what the context is now."""
    return None if context is None else context.copy()
