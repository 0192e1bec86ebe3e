"""Saying in a test what was sent."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from ..actor import Actor
from ..broker import Broker, get_broker
from ..message import Message
from ..outcomes import milliseconds
from .sends import Sent, all_sent, all_uncommitted

_MOST_SHOWN = 20


def sent(actor: Actor[Any, Any] | str | None = None, *, queue: str | None = None) -> list[Message[Any]]:
    """The messages that were sent, oldest first, with those that messages caused; retries are not sent again.

    Within :func:`capture` and :func:`immediate` that is what was sent since they began; with the database broker what
    its records and queues hold. ``actor`` and ``queue`` leave the others out.

    Raises:
        ActorNotFound: nobody declared an actor of that name.
        TypeError: the broker does not remember what it was sent.
    """
    name = None if actor is None else _name(actor)
    return [
        item.message
        for item in all_sent(get_broker())
        if name in (None, item.message.actor_name) and queue in (None, item.message.queue_name)
    ]


def assert_sent(
    actor: Actor[Any, Any] | str,
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    count: int | None = None,
    delay: int | timedelta | None = None,
    **options: Any,
) -> list[Message[Any]]:
    """AssertionError, saying what was sent instead, unless a message of ``actor`` was sent; returns those that fit.

    Parameters:
        args, kwargs: the call, however it was written: ``add.send(1, b=2)`` fits ``args=(1, 2)``. Given one of them,
            the other is empty; given none, any call fits. ``unittest.mock.ANY`` fits everything.
        count: how many messages must fit; at least one when not given.
        delay: milliseconds or a timedelta.
        options: any other option of the message (``priority``, ``eta``, ``message_id``, …).

    Raises:
        ActorNotFound, TypeError: as :func:`sent`.
    """
    __tracebackhide__ = True
    wanted = _Wanted(get_broker(), actor, args, kwargs, delay, options)
    found = wanted.find()
    if (len(found) != count) if count is not None else not found:
        raise AssertionError(wanted.complaint(len(found), count))
    return found


def assert_not_sent(
    actor: Actor[Any, Any] | str,
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    delay: int | timedelta | None = None,
    **options: Any,
) -> None:
    """AssertionError when a message was sent that :func:`assert_sent` would find."""
    __tracebackhide__ = True
    wanted = _Wanted(get_broker(), actor, args, kwargs, delay, options)
    found = wanted.find()
    if found:
        raise AssertionError(wanted.complaint(len(found), 0))


class _Wanted:
    """A description of messages."""

    def __init__(
        self,
        broker: Broker,
        actor: Actor[Any, Any] | str,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        delay: int | timedelta | None,
        options: dict[str, Any],
    ) -> None:
        self._name = _name(actor)
        self._actor = broker.get_actor(self._name)
        self._is_any_call = args is None and kwargs is None
        self._args, self._kwargs = tuple(args or ()), dict(kwargs or {})
        self._delay = None if delay is None else milliseconds(delay)
        self._options = options
        self._sent = all_sent(broker)
        self._uncommitted = all_uncommitted(broker)

    def find(self) -> list[Message[Any]]:
        return [item.message for item in self._sent if self._fits(item)]

    def _fits(self, item: Sent) -> bool:
        message = item.message
        return (
            message.actor_name == self._name
            and (self._delay is None or item.delay == self._delay)
            and all(_same(value, message.options.get(name)) for name, value in self._options.items())
            and (self._is_any_call or self._is_the_call(message))
        )

    def _is_the_call(self, message: Message[Any]) -> bool:
        wanted, got = (self._args, self._kwargs), (message.args, message.kwargs)
        if _same(wanted, got):
            return True
        bound = [_bound(self._actor, *call) for call in (wanted, got)]
        return None not in bound and _same(*bound)

    def complaint(self, found: int, count: int | None) -> str:
        """What is wrong, and what there is instead."""
        number = "No message" if not found else "1 message" if found == 1 else f"{found} messages"
        were = "were" if found > 1 else "was"
        expected = "" if count is None else f", not {count}" if count else ", and none should have been"
        return "\n".join([f"{number} of {self} {were} sent{expected}.", *self._others()])

    def __str__(self) -> str:
        call = "" if self._is_any_call else str(Message("", "", self._args, self._kwargs))
        options = self._options if self._delay is None else {**self._options, "delay": self._delay}
        shown = ", ".join(f"{name}={value!r:.200}" for name, value in options.items())
        return f"{self._name}{call:.500}{shown and ' with ' + shown}"

    def _others(self) -> list[str]:
        # Those of the same actor first: they are the near misses.
        others = sorted(self._sent, key=lambda item: item.message.actor_name != self._name)
        lines = _listed("Sent:", others) if others else ["Nothing at all was."]
        if self._uncommitted:
            lines += _listed(
                "Waiting for a commit (on_commit() runs what the block inside of it sends):", self._uncommitted
            )
        return lines


def _listed(title: str, items: list[Sent]) -> list[str]:
    more = [f"  … and {len(items) - _MOST_SHOWN} more"] if len(items) > _MOST_SHOWN else []
    return [title, *(f"  {item}" for item in items[:_MOST_SHOWN]), *more]


def _name(actor: Actor[Any, Any] | str) -> str:
    name = actor.actor_name if isinstance(actor, Actor) else actor
    return get_broker().get_actor(name).actor_name


def _bound(actor: Actor[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """What each parameter gets, defaults too; None when the call does not fit."""
    try:
        call = inspect.signature(actor.__wrapped__).bind(*args, **kwargs)
    except TypeError:
        return None
    call.apply_defaults()
    return call.arguments


def _same(wanted: Any, got: Any) -> bool:
    """Equal after the journey: tuples arrive as lists."""
    if isinstance(wanted, list | tuple) and isinstance(got, list | tuple):
        return len(wanted) == len(got) and all(_same(*pair) for pair in zip(wanted, got, strict=True))
    if isinstance(wanted, dict) and isinstance(got, dict):
        return wanted.keys() == got.keys() and all(_same(wanted[key], got[key]) for key in wanted)
    return bool(wanted == got)
