"""Runs anywhere: a property that is computed once, and takes no lock for that.

CPython 3.11's takes one for all objects of a class. A child that is forked while a thread of the
parent's holds it would wait for ever (seen: one fork in eight beside a report).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or sys.version_info >= (3, 12):
    from functools import cached_property as computed_once
else:

    class computed_once:  # noqa: N801 - used as a decorator is
        """Keep what a method gives in the object, under the method's name."""

        def __init__(self, method: Callable[[Any], Any]) -> None:
            self._method = method
            self.__doc__ = method.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self._name = name

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            # Two threads may both compute it: each gets what is right.
            value = instance.__dict__[self._name] = self._method(instance)
            return value


__all__ = ["computed_once"]
