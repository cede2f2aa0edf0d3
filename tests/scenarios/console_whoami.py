"""Prints what a program can know of how it was started."""

from __future__ import annotations

import inspect
import json
import pickle
import sys


class Picklable:
    """Found again by the name `__main__`."""


def shown() -> dict[str, object]:
    main = sys.modules["__main__"]
    spec = main.__spec__
    return {
        "argv": sys.argv,
        "path": sys.path,
        "names": sorted(vars(main)),
        "name": __name__,
        "file": main.__file__,
        "code": shown.__code__.co_filename,
        "package": __package__,
        "spec": spec and [spec.name, spec.origin],
        "loader": type(main.__loader__).__name__,
        "builtins": type(vars(main)["__builtins__"]).__name__,
        "is main": vars(main) is globals(),
        "pickled": type(pickle.loads(pickle.dumps(Picklable()))) is Picklable,
        "has source": _has_source(),
        "excepthook": sys.excepthook is sys.__excepthook__,
    }


def _has_source() -> bool:
    try:
        return inspect.getsource(shown).startswith("def shown")
    except OSError:
        return False


print(json.dumps(shown(), indent=1))
