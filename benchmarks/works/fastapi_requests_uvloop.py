"""The same on uvloop."""

from dataclasses import replace

from benchmarks.work import Setting
from benchmarks.works import fastapi_requests

WORK = replace(
    fastapi_requests.WORK,
    title="FastAPI requests, uvloop",
    setting=Setting(loop="uvloop"),
)
