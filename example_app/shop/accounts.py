"""Runs on the event loop or, as it should, on a thread: passwords."""

from __future__ import annotations

import asyncio
import hashlib
import secrets


def hash_password(password: str, iterations: int) -> str:
    """Hash a password slowly on purpose: that is what protects it."""
    salt = secrets.token_bytes(16)
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    return f"pbkdf2_sha256${iterations}${salt.hex()}${digest.hex()}"


async def hash_password_async(password: str, iterations: int) -> str:
    """Hash it on a thread: hashlib releases the GIL meanwhile."""
    return await asyncio.to_thread(hash_password, password, iterations)
