"""Small words that several floors share: queue names and the back-off."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from queue import Empty, Queue
from typing import Any

from .clock import monotonic, wall_ms
from .errors import QueueJoinTimeout

QUEUE_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9._-]*")
MAX_NAME_LENGTH = 200
"""Longest queue or actor name; the width of their columns."""

MIN_PRIORITY, MAX_PRIORITY = -100, 100

_DELAY_SUFFIX, _DEAD_SUFFIX = ".DQ", ".XQ"


def refuse_options(kind: str, given: Iterable[str], advice: Mapping[str, str]) -> None:
    """Raise ValueError for an option of Dramatiq's that has no meaning here, saying what has."""
    for name in given:
        if name in advice:
            raise ValueError(f"{kind} has no {name}: {advice[name]}")


def current_millis() -> int:
    """Milliseconds since the epoch, as Dramatiq calls it."""
    return wall_ms()


def q_name(queue_name: str) -> str:
    """The canonical name of a queue, without Dramatiq's ``.DQ`` and ``.XQ``."""
    return queue_name[:-3] if queue_name.endswith((_DELAY_SUFFIX, _DEAD_SUFFIX)) else queue_name


def dq_name(queue_name: str) -> str:
    """The name Dramatiq gives to a queue's delay queue; ours keep delayed messages in the queue itself."""
    return queue_name if queue_name.endswith(_DELAY_SUFFIX) else q_name(queue_name) + _DELAY_SUFFIX


def xq_name(queue_name: str) -> str:
    """The name Dramatiq gives to a queue's dead-letter queue."""
    return queue_name if queue_name.endswith(_DEAD_SUFFIX) else q_name(queue_name) + _DEAD_SUFFIX


def check_queue_name(queue_name: str) -> None:
    """Raise ValueError for a name that some broker could not carry."""
    if not QUEUE_NAME.fullmatch(queue_name) or len(queue_name) > MAX_NAME_LENGTH:
        raise ValueError(
            f"{queue_name!r} is not a queue name: letters, digits, '.', '_' and '-', beginning with a letter or '_', "
            f"at most {MAX_NAME_LENGTH} characters."
        )
    if queue_name != q_name(queue_name):
        raise ValueError(f"{queue_name!r} is not a queue name: the endings .DQ and .XQ are kept for brokers.")


def check_priority(priority: object) -> None:
    """Raise ValueError unless ``priority`` is an integer from -100 to 100."""
    if type(priority) is not int or not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        raise ValueError(f"A priority is an integer from {MIN_PRIORITY} to {MAX_PRIORITY}: {priority!r}")


def compute_backoff(
    attempts: int, *, factor: int = 5, jitter: bool = True, max_backoff: int = 2000, max_exponent: int = 32
) -> tuple[int, int]:
    """The wait before the next attempt: exponential, bounded, with jitter.

    The base is ``factor * 2 ** attempts`` milliseconds. Jitter multiplies it by a random number between
    1 and 2, so that the first wait is never shorter than ``factor``; beyond ``max_backoff`` it is drawn
    between half of it and all of it, so that a herd of failures spreads out ("equal jitter" of
    M. Brooker, *Exponential Backoff And Jitter*, 2015).

    Returns:
        ``(attempts + 1, milliseconds)``.
    """
    backoff = factor * 2 ** min(attempts, max_exponent)
    if jitter:
        backoff = int(backoff * random.uniform(1, 2))
        if backoff > max_backoff:
            backoff = int(max_backoff * random.uniform(0.5, 1))
    return attempts + 1, min(backoff, max_backoff)


# What applications that came from Dramatiq may import


def getenv_int(name: str) -> int | None:
    """The whole number in the environment's variable ``name``; None when there is none, ValueError for another text."""
    text = os.environ.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} in the environment is not a whole number: {text!r}") from None


def iter_queue(queue: Queue[Any]) -> Iterator[Any]:
    """Take out of a queue what is in it, until it is empty; each item counts as done."""
    while True:
        try:
            item = queue.get_nowait()
        except Empty:
            return
        yield item
        queue.task_done()


def join_queue(queue: Queue[Any], timeout: float | None = None) -> None:
    """Wait until everything that is in a queue is done; QueueJoinTimeout when it is not within so many seconds."""
    with queue.all_tasks_done:
        if not queue.all_tasks_done.wait_for(lambda: not queue.unfinished_tasks, timeout):
            raise QueueJoinTimeout(f"{queue.unfinished_tasks} items are not done after {timeout} s.")


def join_all(joinables: Iterable[Any], timeout: float) -> None:
    """Join threads or processes one after the other, for ``timeout`` milliseconds in all."""
    deadline = monotonic() + timeout / 1000
    for joinable in joinables:
        joinable.join(timeout=max(0.0, deadline - monotonic()))
