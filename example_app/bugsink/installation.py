"""Runs in the process of `make triage`: a new Bugsink in a folder, ready to be served."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from example_app.local_server import HOST
from example_app.server_process import ROOT, ServerError

COMMANDS = ROOT / ".venv-triage" / "bin"
EMAIL = "triage@example.com"
LONGEST_PREPARATION = 120.0

# Bugsink's own commands one after the other in one process: each would start anew for seconds.
PREPARATION = """
import json
from django.core.management import call_command
from bsmain.models import AuthToken
from projects.models import Project
from teams.models import Team

call_command("migrate", verbosity=0)
call_command("migrate", database="snappea", verbosity=0)
call_command("prestart")
project = Project.objects.create(name="Shop", team=Team.objects.create(name="Shop"))
token = AuthToken.create_full_access().token
print(json.dumps({"project": project.pk, "dsn": project.dsn, "token": token}))
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """What one needs to know of a Bugsink: where it is, and how one gets in."""

    url: str
    project: int
    dsn: str
    token: str
    email: str
    password: str

    @property
    def issues_url(self) -> str:
        """The page with the list of issues."""
        return f"{self.url}/issues/{self.project}/"


async def install(folder: Path, port: int) -> Installation:
    """Configure Bugsink for a port of this machine and fill its database; takes some seconds."""
    if not (COMMANDS / "bugsink-manage").exists():
        message = f"There is no Bugsink in {COMMANDS}: `make triage` installs it."
        raise ServerError(message)
    password = secrets.token_urlsafe(9)
    configure = ["bugsink-create-conf", "--template=local", f"--host={HOST}", f"--port={port}"]
    async with asyncio.timeout(LONGEST_PREPARATION):
        await _run(configure, folder)
        with (folder / "bugsink_conf.py").open("a") as configuration:
            # It is to talk to nobody but us.
            configuration.write('\nBUGSINK["PHONEHOME"] = False\n')
        printed = await _run(
            ["bugsink-manage", "shell", "-c", PREPARATION],
            folder,
            CREATE_SUPERUSER=f"{EMAIL}:{password}",
        )
    made = json.loads(printed.splitlines()[-1])
    url = f"http://{HOST}:{port}"
    return Installation(url, email=EMAIL, password=password, **made)


def bugsink_environment() -> dict[str, str]:
    """Ours, without what would lead Bugsink to other modules or have it report elsewhere."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SENTRY_", "PYTHON", "DJANGO_", "DATABASE_"))
    }


async def _run(command: Sequence[str], folder: Path, **environment: str) -> str:
    """What a command of Bugsink's printed; `ServerError` with the same if it failed."""
    process = await asyncio.create_subprocess_exec(
        COMMANDS / command[0],
        *command[1:],
        cwd=folder,
        env=bugsink_environment() | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # Ctrl-C in the terminal is for us, who then end it in order.
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    printed = output.decode(errors="replace")
    if process.returncode != 0:
        message = f"{command[0]} ended with exit code {process.returncode}\n{printed}"
        raise ServerError(message)
    return printed
