"""What was sent, as far as the broker knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..broker import Broker
from ..deliveries import Outgoing
from ..errors import DecodeError
from ..message import Message
from .stand_in import StandIn
from .stores import is_database

if TYPE_CHECKING:
    from ..brokers.database import DatabaseBroker
    from ..models import MessageRecord


class Sent(NamedTuple):
    """A message as a worker gets it, and its delay in milliseconds."""

    message: Message[Any]
    delay: int | None = None

    def __str__(self) -> str:
        options = dict(self.message.options)
        if self.delay is not None:
            options["delay"] = self.delay
        shown = "".join(f", {name}={value!r:.200}" for name, value in options.items() if name != "pipe_target")
        return f"{self.message!s:.500}{shown and ' with ' + shown[2:]}"


def all_sent(broker: Broker) -> list[Sent]:
    """Everything that ``broker`` was sent, oldest first. TypeError for one that does not remember."""
    if isinstance(broker, StandIn) and broker.remembers:
        return [_as_received(item) for item in broker.log]
    if is_database(broker):
        return _recorded(broker)
    raise TypeError(f"{broker!r} does not remember what it was sent: put the test within capture() or immediate().")


def all_uncommitted(broker: Broker) -> list[Sent]:
    """What waits for a commit, as far as ``broker`` knows."""
    return [_as_received(item) for item in broker.uncommitted] if isinstance(broker, StandIn) else []


def _as_received(item: Outgoing) -> Sent:
    return Sent(Message.decode(item.payload), item.delay)


def _recorded(broker: DatabaseBroker) -> list[Sent]:
    """The records, with the arguments of the messages themselves where those are still there.

    Messages without a record are known as long as they are not finished.
    """
    from ..models import MessageRecord, QueuedMessage

    rows = QueuedMessage.objects.using(broker.using).order_by("id")
    waiting = {row.message_id: row for row in rows}
    found = []
    for record in MessageRecord.objects.using(broker.using).order_by("created_at", "message_id"):
        row = waiting.pop(record.message_id, None)
        found.append(_of_record(record) if row is None else _decoded(row))
    return found + [_decoded(row) for row in waiting.values()]


def _decoded(row: Any) -> Sent:
    try:
        message = Message.decode(bytes(row.payload))
    except DecodeError:
        message = Message(row.queue_name, "?", message_id=row.message_id)
    return _sent(message)


def _of_record(record: MessageRecord) -> Sent:
    from ..mirror.text import original_value

    args, kwargs, options = map(original_value, (record.args or [], record.kwargs or {}, record.options or {}))
    return _sent(
        Message(record.queue_name, record.actor_name, tuple(args), kwargs, options, message_id=record.message_id)
    )


def _sent(message: Message[Any]) -> Sent:
    return Sent(message, message.options.get("delay"))
