"""What may be sent: bad names, times and options are refused before anybody connects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import clock
from .common import MAX_NAME_LENGTH, check_priority
from .errors import QueueNotFound, did_you_mean
from .message import MAX_ID_LENGTH, Message

MAX_DELAY = 366 * 86_400_000
"""Milliseconds; further ahead than a year is more likely a mistake than a plan."""

_END_OF_TIME = 253_370_764_800_000
"""The year 9999 in epoch milliseconds: later times cannot be stored, or not be shown in every time zone."""


def check_message(message: Message[Any], queues: Mapping[str, Any]) -> None:
    """Raise QueueNotFound or ValueError for a message that no store should be asked to take."""
    if message.queue_name not in queues:
        hint = did_you_mean(message.queue_name, list(queues))
        raise QueueNotFound(f"No queue is called {message.queue_name!r}; declare_queue() makes one known.{hint}")
    if not 0 < len(message.message_id) <= MAX_ID_LENGTH or not message.message_id.isprintable():
        raise ValueError(f"A message id has 1 to {MAX_ID_LENGTH} printable characters: {message.message_id!r:.80}")
    name, created = message.actor_name, message.message_timestamp
    if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise ValueError(f"An actor name has 1 to {MAX_NAME_LENGTH} printable characters: {name!r:.80}")
    if type(created) is not int or not 0 <= created < _END_OF_TIME:
        raise ValueError(f"message_timestamp is epoch milliseconds before the year 9999: {created!r:.80}")
    options = message.options
    if "priority" in options:
        check_priority(options["priority"])
    if "message_id" in options:
        _check_correlation_id(str(options["message_id"]))


def check_delay(delay: object, eta: object) -> None:
    """Raise ValueError for a delay or eta that is negative, no integer, or more than a year ahead."""
    if delay is not None and (type(delay) is not int or not 0 <= delay <= MAX_DELAY):
        raise ValueError(f"delay is milliseconds between 0 and {MAX_DELAY} (a year): {delay!r}")
    if eta is not None and (type(eta) is not int or eta - clock.wall_ms() > MAX_DELAY):
        raise ValueError(f"eta is epoch milliseconds, at most a year ahead: {eta!r}")


def _check_correlation_id(correlation_id: str) -> None:
    # What is not printable would be stored escaped, and not fit its column.
    if not 0 < len(correlation_id) <= MAX_ID_LENGTH or not correlation_id.isprintable():
        raise ValueError(f"message_id has 1 to {MAX_ID_LENGTH} printable characters: {correlation_id!r:.80}")


def refuse_one_id(message_ids: object) -> None:
    """Raise TypeError for a text where a list of ids is wanted: its letters would pass as ids that nobody knows."""
    if isinstance(message_ids, str):
        raise TypeError(f"A list of message ids is wanted, not one id: [{message_ids!r}]")
