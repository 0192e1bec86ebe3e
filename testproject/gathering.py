"""Actors that gather, for the tests with real processes. What each run was given is written beside the ledger."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from django_tasks_q import Gather, actor, get_message_id
from testproject import ledger


@actor(gather=Gather(size=100, wait=500), max_retries=3, min_backoff=10, max_backoff=100)
@ledger.recorded
def collect(items: list[Any]) -> None:
    """Write down what came."""
    _note(items)


@actor(gather=Gather(size=10, wait=200), max_retries=3, min_backoff=10, max_backoff=100)
@ledger.recorded
def collect_or_die(items: list[Any]) -> None:
    """Kill the own process where a file says so, and do it once."""
    path = Path(items[0])
    if path.exists():
        path.unlink()
        time.sleep(0.3)  # so that it is known to have started
        os.kill(os.getpid(), signal.SIGKILL)
    _note(items)


def _note(items: list[Any]) -> None:
    path = os.environ.get(ledger.PATH_VARIABLE)
    if path:
        ledger.append(f"{path}.items", json.dumps({"id": get_message_id(), "items": items}).encode() + b"\n")
