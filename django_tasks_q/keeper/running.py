"""What workers run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..models import WorkerProcess
from ..sql import Database


def running(database: Database) -> set[str]:
    """The ids of the messages that any worker process runs, as its keeper last saw it, seconds ago."""
    workers: Iterable[Any] = WorkerProcess.objects.using(database.alias).values_list("current", flat=True)
    return {one.get("message_id", "") for current in workers for one in current}
