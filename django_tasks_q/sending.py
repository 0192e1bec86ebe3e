"""Sending many messages at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .broker import Broker, get_broker
from .message import Message


def send_many(
    messages: Iterable[Message[Any]], *, on_commit: bool = False, using: str | None = None
) -> list[Message[Any]]:
    """Send messages in as few round trips as possible; returns them in order, and in the place of one whose key is held
    (:mod:`django_tasks_q.unique`) the message that is there.

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
    return send_through(broker, messages)


def send_through(broker: Broker, messages: Sequence[Message[Any]]) -> list[Message[Any]]:
    """Send messages now, those whose actors are declared so on commit; returns what is there, in order."""
    waiting = [message for message in messages if _waits(broker, message)]
    if not waiting:
        return broker.enqueue_many(messages) if messages else []
    later = iter(broker.enqueue_on_commit(waiting))
    at_once = [message for message in messages if not _waits(broker, message)]
    now = iter(broker.enqueue_many(at_once) if at_once else ())
    return [next(later if _waits(broker, message) else now) for message in messages]


def _waits(broker: Broker, message: Message[Any]) -> bool:
    actor = broker.actors.get(message.actor_name)
    return actor is not None and bool(actor.options.get("on_commit"))
