"""Sending many messages at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .broker import Broker, get_broker
from .message import Message


def send_many(
    messages: Iterable[Message[Any]], *, on_commit: bool = False, using: str | None = None
) -> list[Message[Any]]:
    """Send messages in as few round trips as possible; returns them in order.

    All are checked and encoded before the first is sent; the messages of one batch go out together or not at all. Times
    and options are those the messages were built with (``actor.message_with_options(delay=…)``). Errors as
    :meth:`Actor.send`.

    Parameters:
        on_commit: send them when the open transaction commits, as :meth:`Actor.send_on_commit` does. Without it only
            those wait whose actors are declared so.
        using: the database whose transaction they wait for; Django's default one when not given.
    """
    broker = get_broker()
    messages = list(messages)
    for message in messages:
        if not isinstance(message, Message):
            raise TypeError(f"send_many() takes messages (actor.message(...)), not {message!r:.80}.")
    if on_commit or using is not None:
        return broker.enqueue_on_commit(messages, using=using)
    send_through(broker, messages)
    return messages


def send_through(broker: Broker, messages: Sequence[Message[Any]]) -> None:
    """Send messages now, those whose actors are declared so on commit."""
    waiting = [message for message in messages if _waits(broker, message)]
    if waiting:
        broker.enqueue_on_commit(waiting)
        messages = [message for message in messages if not _waits(broker, message)]
    if messages:
        broker.enqueue_many(messages)


def _waits(broker: Broker, message: Message[Any]) -> bool:
    actor = broker.actors.get(message.actor_name)
    return actor is not None and bool(actor.options.get("on_commit"))
