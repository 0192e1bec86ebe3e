"""Async actors for tests; a module of its own, because workers start an event loop only where there are some."""

import asyncio
import time
from pathlib import Path

from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connection

from django_tasks_q import actor, set_progress
from testproject.ledger import recorded_coroutine


@actor(max_retries=3, min_backoff=10, max_backoff=100)
@recorded_coroutine
async def nap(seconds: float) -> None:
    """Wait without being in anybody's way."""
    await asyncio.sleep(seconds)


@actor(max_retries=3, min_backoff=10, max_backoff=100)
@recorded_coroutine
async def go_ahead(steps: int, path: str) -> None:
    """Say at each of many steps how far it is, wait at the one before the last until somebody makes a file."""
    for done in range(steps):
        set_progress(done, steps, f"step {done}")
    while not await asyncio.to_thread(Path(path).exists):
        await asyncio.sleep(0.01)
    set_progress(steps, steps, "all steps")


@actor(max_retries=3, min_backoff=10, max_backoff=100)
@recorded_coroutine
async def hold_loop(seconds: float) -> None:
    """Hold up every other coroutine of the process."""
    time.sleep(seconds)


@actor(max_retries=0)
@recorded_coroutine
async def add_group(name: str) -> None:
    """Write with the async ORM."""
    await Group.objects.acreate(name=name)


@actor(max_retries=0)
@recorded_coroutine
async def leave_transaction(name: str) -> None:
    """Begin a transaction on the connection that all coroutines share, and never end it."""

    @sync_to_async
    def begin() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO auth_group (name) VALUES (%s)", [name])

    await begin()


@actor(max_retries=3, min_backoff=10, max_backoff=100)
@recorded_coroutine
async def refuse_to_end(seconds: float) -> None:
    """Go on whoever cancels it, and leave a task behind that does the same."""
    end = time.monotonic() + seconds

    async def go_on() -> None:
        while time.monotonic() < end:
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                pass

    left_behind.append(asyncio.create_task(go_on()))
    await go_on()


left_behind: list[asyncio.Task[None]] = []
