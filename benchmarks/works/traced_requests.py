"""The same requests, each of them a transaction."""

from dataclasses import replace

from benchmarks.subjects import ALL_OF_US, SENTRY, SENTRY_AGAIN, US
from benchmarks.work import Setting
from benchmarks.works import fastapi_requests

WORK = replace(
    fastapi_requests.WORK,
    title="FastAPI requests, traced",
    what=(
        "The same on asyncio with `traces_sample_rate=1.0` and the SDK's own integrations: each "
        "request is a transaction, in whose time the loop stands still for none."
    ),
    subjects=(SENTRY, SENTRY_AGAIN, US, ALL_OF_US),
    setting=Setting(traced=True),
)
