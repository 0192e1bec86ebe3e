"""Messages that their broker does not hold any more, as far as it can tell, and whose end nobody saw.

Their records are all that is left of them: ``unknown``, or dead because they were ``lost``. So they are sent again from
there, or crossed off there. What comes through after all corrects its record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import Q, QuerySet

from .. import changes, clock, records_database
from ..broker import get_broker
from ..deliveries import Outgoing
from ..encoder import JSONEncoder
from ..errors import PartialSendError
from ..message import Message, get_encoder
from ..mirror import RecordWriter
from ..mirror.text import MAX_DEPTH, depth, original, original_value, storable
from ..models import MessageRecord
from ..sql import Database
from ..states import State
from .filters import records

OF_THE_LAST_LIFE = frozenset({"retries", "delay", "eta"})
"""Options that tell of one message's past or time; who begins anew begins at once."""

_FORGOTTEN = Q(state=State.UNKNOWN.value) | Q(state=State.DEAD.value, dead_reason="lost")


def requeue(message_ids: Sequence[str]) -> list[str]:
    """Send what is forgotten again, under its id, to a new life; which that was.

    Only what its record has whole: arguments that are hidden or were left out are nobody's to guess. Raises
    BrokerConnectionError.
    """
    outgoing = [item for record in _forgotten(message_ids) if (item := _outgoing(record)) is not None]
    broker, sent = get_broker(), list[str]()
    try:
        left_out = broker.publish(outgoing)
        sent = [item.message.message_id for item in outgoing if item.message.message_id not in left_out]
        broker.publish([_without_key(item) for item in outgoing if item.message.message_id in left_out])
    except PartialSendError as error:
        return [*sent, *(message.message_id for message in error.sent)]
    return [item.message.message_id for item in outgoing]


def discard(message_ids: Sequence[str]) -> list[str]:
    """Note that nobody waits for what is forgotten any more; which that was."""
    given_up = _forgotten(message_ids)
    alias = records_database.alias(get_broker())
    writer = RecordWriter(Database(alias), get_broker().recording)
    now = clock.wall_ms()
    events = {record.pk: changes.given_up(record.pk, now, _numbers(record), record.guard) for record in given_up}
    unknown = [record for record in given_up if record.state == State.UNKNOWN]
    with transaction.atomic(using=alias):
        writer.write([events[record.pk] for record in given_up if record.state != State.UNKNOWN])
        writer.find_again((record.guard, events[record.pk]) for record in unknown)
    return list(events)


def _forgotten(message_ids: Sequence[str]) -> list[MessageRecord]:
    possible = [one for one in message_ids if storable(one) == one]  # others are refused by databases
    if not possible:
        return []
    found: QuerySet[MessageRecord] = records().filter(_FORGOTTEN, pk__in=possible)
    rows = list(found)
    held = get_broker().look_up([record.pk for record in rows]) if rows else {}
    return [record for record in rows if record.pk not in held]


def _numbers(record: MessageRecord) -> changes.Numbers:
    return changes.Numbers(record.life, record.retries, record.deliveries, record.lost)


def _outgoing(record: MessageRecord) -> Outgoing | None:
    message = _message(record)
    if message is None:
        return None
    item = get_broker().prepare(message)
    # As every dead letter that is requeued, it takes its key where that is free, and disturbs nobody who has it.
    unique = None if item.unique is None else msgspec.structs.replace(item.unique, on_conflict="drop")
    return msgspec.structs.replace(item, life=record.life + 1, record=True, unique=unique)


def _without_key(item: Outgoing) -> Outgoing:
    """Somebody else has the key meanwhile: the message lives without one."""
    return msgspec.structs.replace(item, unique=None)


def _message(record: MessageRecord) -> Message[Any] | None:
    """The message as it was sent; None when the record may not have it whole."""
    parts = (record.args, record.kwargs, record.options)
    broker = get_broker()
    is_hidden = broker.recording.hides or record.raw is not None or any(part is None for part in parts)
    is_plain = type(get_encoder()) is JSONEncoder and all(depth(part) < MAX_DEPTH for part in parts)
    if is_hidden or not is_plain or record.created_at is None or record.queue_name not in broker.queues:
        return None
    args, kwargs, options = map(original_value, parts)
    return Message(
        record.queue_name,
        original(record.actor_name),
        tuple(args),
        kwargs,
        {name: value for name, value in options.items() if name not in OF_THE_LAST_LIFE},
        record.pk,
        round(record.created_at.timestamp() * 1000),
    )
