"""The class of an event loop, as events show it."""

from __future__ import annotations

import asyncio

import pytest

from sentry_loopstall.watch.class_names import package_of, with_package


def of_module(module: object) -> type:
    return type("MyLoop", (), {"__module__": module})


@pytest.mark.parametrize(
    ("cls", "shown", "package"),
    [
        (of_module("myapp.loops"), "myapp.MyLoop", "myapp"),
        (of_module("__main__"), "__main__.MyLoop", "__main__"),
        (of_module(None), "MyLoop", ""),
        (of_module(7), "MyLoop", ""),
    ],
)
def test_a_class_goes_with_its_package(cls: type, shown: str, package: str) -> None:
    """Not with the whole path to its module."""
    assert with_package(cls) == shown
    assert package_of(cls) == package


def test_so_do_the_loops_that_everybody_has() -> None:
    assert with_package(asyncio.SelectorEventLoop).startswith("asyncio._")
    uvloop = pytest.importorskip("uvloop")
    assert with_package(uvloop.Loop) == "uvloop.Loop"
