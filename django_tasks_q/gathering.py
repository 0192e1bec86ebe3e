"""Gathering: items are stored, a collector is sent for them, and takes them when it starts.

The rows are the truth. A collector that is not sent, because a process died or the broker was away, the keeper sends;
one too many finds nothing and is skipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from . import clock
from .errors import BrokerError, BrokerNotReady, DjangoTasksQError, MessageTooLarge, MiddlewareError, SkipMessage
from .gather import GATHERS, MOST, Collection, Gather, GatheredItems, collection_of, get_gathered_items
from .logging import get_logger
from .message import Message, get_encoder
from .outbox import COMMIT_PATIENCE, safe
from .unique import HELD, UNTIL_STARTED

if TYPE_CHECKING:
    from .actor import Actor
    from .broker import Broker
    from .deliveries import MessageProxy

logger = get_logger(__name__)

_REST = 1.0
"""Seconds for which no collector is sent after the broker was found away: nobody else waits for it, and the keeper
sends."""

_ITEM = "item"

_OF_COLLECTORS = frozenset({GATHERS, HELD, "unique", "unique_key", "on_conflict", "delay"})
"""What makes a message a collector."""


class _Rest:
    """Until when senders leave it to the keeper."""

    until = 0.0


def gather(actor: Actor[Any, Any], items: Iterable[Any], key: str) -> None:
    """Store items of an actor, and see to it that somebody collects them.

    Raises:
        ValueError: the actor gathers nothing, or a key that is no printable text.
        EncodeError: an item cannot be encoded; the error names its path.
        BrokerConnectionError, BrokerNotReady: the database of the records cannot be used, or there is none.
    """
    if actor.options.get("gather") is None:
        raise ValueError(f"{actor.actor_name} gathers nothing: declare it with gather=Gather(size=…, wait=…).")
    collection = collection_of(actor.actor_name, key)
    encoded = [_encoded(actor, item) for item in items]
    if encoded:
        store(actor.broker).add(actor.broker, collection, encoded, lambda: _collect_soon(actor, collection))


def store(broker: Broker) -> GatheredItems:
    """Where items are. BrokerNotReady without a database."""
    items = get_gathered_items()
    if items is None:
        raise BrokerNotReady(
            "Items that are gathered are rows, and there is no database for them: that needs 'django_tasks_q' in "
            "INSTALLED_APPS and `manage.py migrate`."
        )
    return items


def _encoded(actor: Actor[Any, Any], item: Any) -> bytes:
    encoded = get_encoder().encode({_ITEM: item})
    if len(encoded) > actor.broker.max_message_bytes:
        raise MessageTooLarge(
            f"{actor.actor_name}: an item of {len(encoded)} bytes encoded, "
            f"MAX_MESSAGE_BYTES is {actor.broker.max_message_bytes}."
        )
    return encoded


def _collect_soon(actor: Actor[Any, Any], collection: Collection) -> None:
    """Send for items that are committed. Raises nothing: they are safe, and who added them is done."""
    if clock.monotonic() < _Rest.until:
        return
    gather: Gather = actor.options["gather"]
    try:
        waiting = store(actor.broker).waiting(actor.broker, collection, gather.size)
        if waiting:
            with safe(COMMIT_PATIENCE):
                collect(actor, collection.key, None if waiting >= gather.size else gather.wait_ms)
    except (DjangoTasksQError, MiddlewareError) as error:
        if isinstance(error, BrokerError):
            _Rest.until = clock.monotonic() + _REST
        logger.warning("Nobody was sent for the items of %s yet; the keeper will: %s", actor.actor_name, error)


def collect(actor: Actor[Any, Any], key: str, delay: int | None) -> bool:
    """Send a collector, in so many milliseconds, unless one waits; whether one was sent.

    Without a delay the one that waits is made due, where its broker can do that. It has a record in any case: that it
    has ended is what tells the keeper to delete what it leaves behind. Stamps are of one sender, and items are of many.
    """
    options: dict[str, Any] = {
        "unique": UNTIL_STARTED,
        "unique_key": f"gather {key}",
        "on_conflict": "drop" if delay else "refresh",
        "inherit_stamps": False,
        "record": True,
        GATHERS: key,
    }
    if delay:
        options["delay"] = delay
    collector: Message[Any] = Message(actor.queue_name, actor.actor_name, ([],), {}, options)
    # Not enqueue(), which would look for the one that waits to return it.
    return not actor.broker.publish([actor.broker.prepare(collector)])


def take(broker: Broker, actor: Actor[Any, Any], message: MessageProxy) -> None:
    """Give a collector its items as its argument; SkipMessage when somebody else has them all.

    That it holds its key no longer comes before: who adds an item from now on sends the next one. Who did so while it
    held its key relied on it, and one that has its items from before, as a requeued dead letter does, takes no others.
    """
    key = message.options[GATHERS]
    gather: Gather | None = actor.options.get("gather")
    collection = collection_of(actor.actor_name, key)
    share = store(broker).take(broker, collection, message.message_id, MOST if gather is None else gather.size)
    if not share.items:
        raise SkipMessage(f"Nothing is left to gather for {key!r}.")
    message.has_gathered = True
    if share.leaves_some:
        _collect_rest(actor, key)
    elif share.is_again and gather is not None:
        _collect_soon(actor, collection)
    message.args = (_decoded(share.items),)


def _decoded(items: Iterable[bytes]) -> list[Any]:
    decode = get_encoder().decode
    return [decode(item)[_ITEM] for item in items]


def taken(broker: Broker, message_id: str, most: int = MOST) -> list[Any]:
    """The items that a collector has taken and is not done with, so many at most. Raises as :func:`store`, and
    DecodeError."""
    return _decoded(store(broker).taken(broker, message_id, most))


def with_items(broker: Broker, message: Message[Any]) -> Message[Any]:
    """A collector as the message that it is for its actor, with its items as its argument; others as they are.

    Who sends a copy of it sends that list, and takes nothing. Errors as :func:`taken`.
    """
    if GATHERS not in message.options:
        return message
    options = {name: value for name, value in message.options.items() if name not in _OF_COLLECTORS}
    return Message(
        message.queue_name, message.actor_name, (taken(broker, message.message_id),), {}, options,
        message.message_id, message.message_timestamp, message.unknown,
    )  # fmt: skip


def _collect_rest(actor: Actor[Any, Any], key: str) -> None:
    """What one run does not get is for the next, at once."""
    try:
        collect(actor, key, None)
    except BrokerError as error:
        logger.warning("Nobody was sent for the other items of %s yet; the keeper will: %s", actor.actor_name, error)


def forget(broker: Broker, message: MessageProxy) -> None:
    """A collector has ended, and its items are done with; it is settled next.

    Delivered once more, because its worker died in between, it finds nothing. Raises nothing: what stays the keeper
    deletes.
    """
    try:
        store(broker).forget(broker, message.message_id)
    except Exception:
        logger.exception("The items of %s could not be deleted yet; the keeper will.", message.message_id)
