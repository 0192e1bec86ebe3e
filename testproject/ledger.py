"""What really ran, written by the actors themselves: the truth outside the engine.

When the environment variable `DTQ_LEDGER` names a file, every run of an actor appends one line when it starts and
one when it ends or fails. A process that dies in between leaves a start without an end, which is just what happened.
"""

import functools
import json
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from django_tasks_q import get_message_id, get_retry_count

P = ParamSpec("P")
R = TypeVar("R")

PATH_VARIABLE = "DTQ_LEDGER"


def write(event: str, actor_name: str) -> None:
    """Append one line about the message that runs here, if there is a ledger."""
    path = os.environ.get(PATH_VARIABLE)
    if path:
        append(path, _line(event, actor_name))


def recorded(function: Callable[P, R]) -> Callable[P, R]:
    """Write the start and the end (or the failure) of each run; goes below `@actor`."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with _run_of(function.__name__):
            return function(*args, **kwargs)

    return run


def recorded_coroutine(function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """The same for a coroutine function."""

    @functools.wraps(function)
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with _run_of(function.__name__):
            return await function(*args, **kwargs)

    return run


@contextmanager
def _run_of(actor_name: str) -> Iterator[None]:
    write("start", actor_name)
    try:
        yield
    except BaseException:
        write("fail", actor_name)
        raise
    write("end", actor_name)


def _line(event: str, actor_name: str) -> bytes:
    entry = {
        "id": get_message_id(),
        "attempt": get_retry_count(),
        "pid": os.getpid(),
        "event": event,
        "at": time.monotonic_ns(),
        "actor": actor_name,
    }
    return json.dumps(entry).encode() + b"\n"


def append(path: str, line: bytes) -> None:
    """One write on an appending descriptor: lines of many processes never mix, and a kill never leaves half of one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
