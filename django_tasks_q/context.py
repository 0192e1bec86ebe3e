"""What runs here: the message of the current attempt, for everything that the actor calls.

A context variable, so it follows copied contexts (threads started with one, async actors) and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar, overload

import msgspec

from .logging import NO_MESSAGE, set_fields_source
from .message import Message

T = TypeVar("T")


class Running(msgspec.Struct):
    """One attempt as its code sees it. ``proxy`` is the engine's own handle on the delivery.

    ``worker_id`` is empty where no worker runs it whose board tells so.
    """

    message: Message[Any]
    retries: int
    max_retries: int | None
    proxy: Any
    worker_id: str = ""


_running: ContextVar[Running | None] = ContextVar("django_tasks_q_running", default=None)


def context_of(running: Running) -> Context:
    """The engine's: a copy of this thread's context in which ``running`` is the current attempt.

    Everything that belongs to the attempt runs in it, on whatever thread; what is set there nobody sees afterwards.
    """
    context = copy_context()
    context.run(_running.set, running)
    return context


def get_running() -> Running | None:
    """The current attempt, or None outside of actors."""
    return _running.get()


@overload
def get_current_message() -> Message[Any] | None: ...
@overload
def get_current_message(default: T) -> Message[Any] | T: ...
def get_current_message(default: Any = None) -> Any:
    """The message that runs here; ``default`` outside of an actor."""
    running = _running.get()
    return default if running is None else running.message


@overload
def get_message_id() -> str | None: ...
@overload
def get_message_id(default: T) -> str | T: ...
def get_message_id(default: Any = None) -> Any:
    """The id of the message that runs here; ``default`` outside of an actor."""
    running = _running.get()
    return default if running is None else running.message.message_id


@overload
def get_retry_count() -> int | None: ...
@overload
def get_retry_count(default: T) -> int | T: ...
def get_retry_count(default: Any = None) -> Any:
    """How many attempts of this message failed before this one; ``default`` outside of an actor."""
    running = _running.get()
    return default if running is None else running.retries


@overload
def get_max_retries() -> int | None: ...
@overload
def get_max_retries(default: T) -> int | T | None: ...
def get_max_retries(default: Any = None) -> Any:
    """How often this message may be retried; None when there is no limit; ``default`` outside of an actor."""
    running = _running.get()
    return default if running is None else running.max_retries


@overload
def get_queue_name() -> str | None: ...
@overload
def get_queue_name(default: T) -> str | T: ...
def get_queue_name(default: Any = None) -> Any:
    """The queue that this message came from; ``default`` outside of an actor."""
    running = _running.get()
    return default if running is None else running.message.queue_name


def _log_fields() -> Mapping[str, object]:
    running = _running.get()
    if running is None:
        return NO_MESSAGE
    message = running.message
    return {
        "message_id": message.message_id,
        "actor": message.actor_name,
        "queue": message.queue_name,
        "retries": running.retries,
    }


set_fields_source(_log_fields)
