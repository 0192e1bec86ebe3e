"""The sending side, a process of its own: ``python -m benchmarks.client JOB ARGUMENTS`` prints what it found as JSON.

The variable ``TASKS`` names the module whose ``send`` and ``send_many`` are measured, so that every engine is asked by
the same code.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import django

from . import variables

WARM_UP = 20
"""Sends before the clock runs: connections are opened and statements prepared."""


def fill(tasks: Any, messages: int, first: int = 0, batch: int = 1_000) -> None:
    """Queue ``messages``, as fast as the engine can."""
    for start in range(first, first + messages, batch):
        tasks.send_many(range(start, min(start + batch, first + messages)))


def remember(tasks: Any, records: int) -> None:
    """Make it look as if the engine had been at work for long."""
    tasks.remember(records)


def send(tasks: Any, messages: int, batch: int = 1, atomic: bool = False) -> dict[str, float]:
    """Send in a loop; how many a second. The first ``WARM_UP`` are not timed, but they count in the ledger."""
    from django.db import transaction

    for index in range(WARM_UP):
        tasks.send(index)
    with transaction.atomic() if atomic else nullcontext():
        begin = time.perf_counter()
        if batch == 1:
            for index in range(WARM_UP, messages):
                tasks.send(index)
        else:
            for start in range(WARM_UP, messages, batch):
                tasks.send_many(range(start, min(start + batch, messages)))
        took = time.perf_counter() - begin
    return {"per_second": (messages - WARM_UP) / took}


def send_apart(
    tasks: Any, messages: int, first: int, rest: float, gaps: tuple[float, float] = (0.02, 0.04)
) -> dict[str, list[int]]:
    """Send one by one with jittered gaps; when each call began and returned, in nanoseconds.

    The first ``WARM_UP`` are not told, but they count in the ledger; ``rest`` seconds without a send follow them.
    """
    jitter = random.Random(1)
    began, returned = [], []
    for index in range(first, first + WARM_UP + messages):
        time.sleep(rest if index == first + WARM_UP else jitter.uniform(*gaps))
        began.append(time.monotonic_ns())
        tasks.send(index)
        returned.append(time.monotonic_ns())
    return {"began": began[WARM_UP:], "returned": returned[WARM_UP:]}


def waiting(tasks: Any) -> int:
    """How many messages are not finished."""
    return int(tasks.waiting())


JOBS: dict[str, Callable[..., Any]] = {
    "fill": fill,
    "remember": remember,
    "send": send,
    "send_apart": send_apart,
    "waiting": waiting,
}


def main() -> None:
    job, arguments = sys.argv[1], json.loads(sys.argv[2])
    django.setup()
    tasks = import_module(os.environ[variables.TASKS])
    print(json.dumps(JOBS[job](tasks, **arguments)))


if __name__ == "__main__":
    main()
