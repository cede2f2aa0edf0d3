"""Runs on the event loop: the shop as its owner would write it.

`uvicorn example_app.app:app` serves it; SENTRY_DSN says where its stalls are reported.
"""

from __future__ import annotations

import sentry_sdk
from fastapi import FastAPI

from example_app.endpoints import router
from example_app.opening import open_shop
from sentry_loopstall import LoopStallIntegration

sentry_sdk.init(integrations=[LoopStallIntegration()], traces_sample_rate=1.0)

app = FastAPI(title="Shop", lifespan=open_shop)
app.include_router(router)
