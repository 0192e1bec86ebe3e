"""Sending many messages at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .broker import get_broker
from .message import Message


def send_many(messages: Iterable[Message[Any]]) -> list[Message[Any]]:
    """Send messages in as few round trips as possible; returns them in order.

    All are checked and encoded before the first is sent; the messages of one batch go out together or not at all. Times
    and options are those the messages were built with (``actor.message_with_options(delay=…)``). Errors as
    :meth:`Actor.send`.
    """
    return get_broker().enqueue_many(messages)
