"""Which frameworks and servers are tested, and how a user starts them.

Plain data that needs none of them installed: the list in docs/how-it-works.md is compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Served:
    """An application of `apps/`, and the server that runs it.

    In `command`, which follows `python -m`, `{port}` stands for the port. `transaction` is what
    Sentry's own integration calls the request, `in_sdk_3` what that of SDK 3 does where it is
    another name, `handler` the function that the framework calls. `packages` must be importable.
    """

    framework: str
    server: str
    loop: str
    command: str
    transaction: str
    packages: tuple[str, ...]
    handler: str = "hello"
    in_sdk_3: str | None = None


_UVICORN = "uvicorn --host=127.0.0.1 --port={port} --log-level=warning"
_GRANIAN = "granian --interface=asgi --host=127.0.0.1 --port={port} --log-level=warning"
_GUNICORN = "gunicorn --bind=127.0.0.1:{port} --worker-class=uvicorn_worker.UvicornWorker"

SERVED = (
    Served(
        "FastAPI",
        "uvicorn",
        "asyncio",
        f"{_UVICORN} --loop=asyncio fastapi_app:app",
        "/hello/{who}",
        ("fastapi", "uvicorn"),
    ),
    Served(
        "Starlette",
        "uvicorn",
        "uvloop",
        f"{_UVICORN} --loop=uvloop starlette_app:app",
        "/hello/{who}",
        ("starlette", "uvicorn", "uvloop"),
    ),
    Served(
        "Quart",
        "Hypercorn",
        "asyncio",
        "hypercorn --bind=127.0.0.1:{port} quart_app:app",
        "hello",
        ("quart", "hypercorn"),
        in_sdk_3="/hello/<who>",
    ),
    Served(
        "Litestar",
        "Granian",
        "asyncio",
        f"{_GRANIAN} --loop=asyncio litestar_app:app",
        "litestar_app.hello",
        ("litestar", "granian"),
    ),
    Served(
        "Django",
        "Granian",
        "uvloop",
        f"{_GRANIAN} --loop=uvloop django_app:app",
        "/hello/{who}",
        ("django", "granian", "uvloop"),
    ),
    Served(
        "Starlette",
        "Granian",
        "rloop",
        f"{_GRANIAN} --loop=rloop starlette_app:app",
        "/hello/{who}",
        ("starlette", "granian", "rloop"),
    ),
    Served(
        "FastAPI",
        "Gunicorn, uvicorn workers",
        "uvloop",
        f"{_GUNICORN} fastapi_app:app",
        "/hello/{who}",
        ("fastapi", "gunicorn", "uvicorn_worker", "uvloop"),
    ),
    Served(
        "FastAPI",
        "Gunicorn, uvicorn workers, `--preload`",
        "uvloop",
        f"{_GUNICORN} --preload fastapi_app:app",
        "/hello/{who}",
        ("fastapi", "gunicorn", "uvicorn_worker", "uvloop"),
    ),
    Served(
        "FastAPI",
        "Gunicorn, its own ASGI worker",
        "asyncio",
        "gunicorn --bind=127.0.0.1:{port} --worker-class=asgi --asgi-loop=asyncio fastapi_app:app",
        "/hello/{who}",
        ("fastapi", "gunicorn", "gunicorn.workers.gasgi"),
    ),
    Served(
        "Django",
        "Daphne",
        "asyncio",
        "daphne --bind=127.0.0.1 --port={port} django_app:app",
        "/hello/{who}",
        ("django", "daphne"),
    ),
    Served(
        "aiohttp",
        "its own",
        "asyncio",
        "aiohttp.web --hostname=127.0.0.1 --port={port} aiohttp_app:make_app",
        "aiohttp_app.hello",
        ("aiohttp",),
        in_sdk_3="/hello/{who}",
    ),
    Served(
        "Sanic",
        "its own",
        "uvloop",
        "sanic sanic_app:app --host=127.0.0.1 --port={port}",
        "hello",
        ("sanic", "uvloop"),
    ),
    Served(
        "Tornado",
        "its own",
        "asyncio",
        "tornado_app {port}",
        "__main__.Hello.get",
        ("tornado",),
        handler="get",
    ),
)
