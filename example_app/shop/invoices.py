"""Runs on the event loop, and should wait there without blocking it: calls an external tool."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

RENDERER = [sys.executable, "-I", str(Path(__file__).with_name("invoice_renderer.py"))]


def render_invoice(order: int) -> str:
    """Run the tool, and have the loop wait for it."""
    command = [*RENDERER, str(order)]
    completed = subprocess.run(command, capture_output=True, timeout=30, check=True)
    return completed.stdout.decode().strip()


async def render_invoice_async(order: int) -> str:
    """Run the tool, and serve others until it ends."""
    process = await asyncio.create_subprocess_exec(
        *RENDERER, str(order), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), timeout=30)
    if process.returncode:
        message = f"the renderer ended with exit code {process.returncode}"
        raise RuntimeError(message)
    return output.decode().strip()
