"""How messages travel through RabbitMQ: the payload is the body, the counters are headers.

A header that has its usual value is left out, because each costs pika more time than the payload does.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, get_args

import msgspec
from pika import BasicProperties

from ... import changes
from ...deliveries import Delivery, Held, Outgoing, Settlement
from ...errors import DecodeError
from ...message import MAX_ID_LENGTH, Message
from ...outcomes import Dead, Parked
from ...waiting_room import Kept, WaitingKind

_PERSISTENT = 2
_LONGEST_PROPERTY = 255
"""Bytes. Whoever has a longer id is known by the one in its payload."""

_RETURNS = "x-delivery-count"
_QUEUE, _KIND, _DUE_AT, _PRIORITY = "x-dtq-queue", "x-dtq-kind", "x-dtq-due-at", "x-dtq-priority"
_LIFE, _NUMBER, _RETRIES, _LOST = "x-dtq-life", "x-dtq-number", "x-dtq-retries", "x-dtq-lost"
_ENQUEUED_AT, _SINCE, _REASON, _UNRECORDED = "x-dtq-enqueued-at", "x-dtq-since", "x-dtq-reason", "x-dtq-unrecorded"


class Envelope(msgspec.Struct, frozen=True):
    """A message on its way through RabbitMQ. ``number``: how often it was claimed before it was sent."""

    message_id: str
    queue_name: str
    payload: bytes
    priority: int = 0
    life: int = 0
    number: int = 0
    retries: int = 0
    lost: int = 0
    enqueued_at: int = 0
    record: bool = True


def properties(envelope: Envelope, level: int | None = None) -> BasicProperties:
    """The properties of a message that carries work; ``level`` is RabbitMQ's priority."""
    return _properties(envelope.message_id, _counters(envelope), level)


def _properties(message_id: str, headers: dict[str, Any], level: int | None = None) -> BasicProperties:
    fits = len(message_id) <= MAX_ID_LENGTH - 1 or len(message_id.encode()) <= _LONGEST_PROPERTY
    return BasicProperties(
        message_id=message_id if fits else None, delivery_mode=_PERSISTENT, priority=level, headers=headers
    )


def _counters(envelope: Envelope) -> dict[str, Any]:
    headers: dict[str, Any] = {_ENQUEUED_AT: envelope.enqueued_at}
    if envelope.priority:
        headers[_PRIORITY] = envelope.priority
    if envelope.number:
        headers[_NUMBER] = envelope.number
    if envelope.life:
        headers[_LIFE] = envelope.life
    if envelope.retries:
        headers[_RETRIES] = envelope.retries
    if envelope.lost:
        headers[_LOST] = envelope.lost
    if not envelope.record:
        headers[_UNRECORDED] = True
    return headers


def waiting_properties(kept: Kept) -> BasicProperties:
    """The properties of a message on its way to the waiting room."""
    headers = _counters(_as_sent(kept))
    headers[_QUEUE], headers[_KIND], headers[_SINCE] = kept.queue_name, kept.kind, kept.since
    if kept.due_at is not None:
        headers[_DUE_AT] = kept.due_at
    if kept.reason:
        headers[_REASON] = kept.reason
    return _properties(kept.message_id, headers)


def suspect_properties(envelope: Envelope) -> BasicProperties:
    """The properties of a message that must run alone: it remembers the queue that it belongs to."""
    found = properties(envelope)
    found.headers[_QUEUE] = envelope.queue_name
    return found


def open_envelope(properties: BasicProperties, body: bytes, queue_name: str) -> Envelope:
    """A message as it came out of a queue, whoever put it there."""
    headers = properties.headers or {}
    if len(headers) == 1 and _ENQUEUED_AT in headers:  # nothing about it is unusual
        return Envelope(_message_id(properties, body), queue_name, body, enqueued_at=_number(headers, _ENQUEUED_AT))
    return Envelope(
        _message_id(properties, body),
        _text(headers, _QUEUE) or queue_name,
        body,
        _number(headers, _PRIORITY, lowest=-100),
        _number(headers, _LIFE),
        _number(headers, _NUMBER),
        _number(headers, _RETRIES),
        _number(headers, _LOST),
        _number(headers, _ENQUEUED_AT),
        headers.get(_UNRECORDED) is not True,
    )


def returns(properties: BasicProperties) -> int:
    """How often a message was given back, as far as quorum queues count; elsewhere 0."""
    return _number(properties.headers or {}, _RETURNS)


def open_kept(properties: BasicProperties, body: bytes, now: int) -> Kept:
    """A message that came out of ``<ns>.waiting``. One that nobody of us put there is a dead letter."""
    headers = properties.headers or {}
    envelope = open_envelope(properties, body, "")
    kind: WaitingKind = headers[_KIND] if headers.get(_KIND) in get_args(WaitingKind) else "dead"
    is_ours = _KIND in headers
    due = None if kind == "dead" else _number(headers, _DUE_AT)
    reason = _text(headers, _REASON) if is_ours else "undecodable"
    return kept(envelope, kind, due, _number(headers, _SINCE) or now, reason)


def dead_lettered(properties: BasicProperties, body: bytes) -> tuple[Envelope, str]:
    """A message that RabbitMQ itself took out of a queue (its name there), and why."""
    headers = properties.headers or {}
    envelope = open_envelope(properties, body, _text(headers, "x-first-death-queue"))
    return envelope, _text(headers, "x-first-death-reason") or "rejected"


# Between our values


def sent(outgoing: Outgoing, now: int) -> Envelope:
    """A message that is sent for the first time."""
    message = outgoing.message
    return Envelope(
        message.message_id,
        message.queue_name,
        outgoing.payload,
        outgoing.priority,
        outgoing.life,
        enqueued_at=now,
        record=outgoing.record,
    )


def delivery(envelope: Envelope, handle: Any, before: int, lost: int = 0) -> Delivery:
    """What a worker gets: given out ``before`` times since it was sent, and lost ``lost`` times of those."""
    return Delivery(
        handle,
        envelope.message_id,
        envelope.queue_name,
        envelope.payload,
        envelope.number + before + 1,
        envelope.retries,
        envelope.lost + lost,
        envelope.life,
        envelope.enqueued_at,
        envelope.record,
    )


def after(settlement: Settlement, priority: int) -> Envelope:
    """The message as a settlement leaves it."""
    given = settlement.delivery
    return Envelope(
        given.message_id,
        given.queue_name,
        given.payload if settlement.payload is None else settlement.payload,
        priority,
        given.life,
        given.number,
        changes.retries_after(settlement),
        changes.lost_after(given, settlement.outcome),
        given.enqueued_at,
        given.record,
    )


def kept(envelope: Envelope, kind: WaitingKind, due_at: int | None, since: int, reason: str = "") -> Kept:
    """A message as the waiting room keeps it."""
    return Kept(
        envelope.message_id,
        envelope.queue_name,
        envelope.payload,
        kind,
        due_at,
        envelope.priority,
        envelope.life,
        envelope.number,
        envelope.retries,
        envelope.lost,
        envelope.enqueued_at,
        since,
        reason,
        envelope.record,
    )


def kept_after(settlement: Settlement, priority: int, now: int) -> Kept:
    """What waits after a settlement that says that it must."""
    outcome, envelope = settlement.outcome, after(settlement, priority)
    if isinstance(outcome, Dead):
        return kept(envelope, "dead", None, now, outcome.reason)
    if isinstance(outcome, Parked):
        return kept(envelope, "parked", now + outcome.delay, now, outcome.mark)
    return kept(envelope, "retry", now + getattr(outcome, "delay", 0), now)


def promoted(item: Kept, now: int) -> Envelope:
    """A message that has waited long enough."""
    return msgspec.structs.replace(_as_sent(item), enqueued_at=now)


def _as_sent(item: Kept) -> Envelope:
    return Envelope(
        item.message_id,
        item.queue_name,
        item.payload,
        item.priority,
        item.life,
        item.number,
        item.retries,
        item.lost,
        item.enqueued_at,
        item.record,
    )


def in_queue(item: Kept, queue_name: str) -> Kept:
    return msgspec.structs.replace(item, queue_name=queue_name)


def kept_delivery(item: Kept) -> Delivery:
    """A waiting message as people look at it."""
    return Delivery(
        None,
        item.message_id,
        item.queue_name,
        item.payload,
        item.number,
        item.retries,
        item.lost,
        item.life,
        item.enqueued_at,
        item.record,
    )


def kept_held(item: Kept) -> Held:
    """A waiting message as the broker holds it."""
    return Held(kept_delivery(item), "dead" if item.kind == "dead" else "delayed", item.due_at or 0)


# What others may have written


def _number(headers: Mapping[str, Any], name: str, lowest: int = 0) -> int:
    value = headers.get(name, 0)
    return int(value) if isinstance(value, int) and value >= lowest else 0


def _text(headers: Mapping[str, Any], name: str) -> str:
    value = headers.get(name, "")
    return value if isinstance(value, str) else ""


def _message_id(properties: BasicProperties, body: bytes) -> str:
    """The id that the sender gave, else the message's own, else one made of its bytes: it must stay the same."""
    given = properties.message_id
    if isinstance(given, str) and 0 < len(given) <= MAX_ID_LENGTH:
        return given
    try:
        return Message.decode(body).message_id[:MAX_ID_LENGTH]
    except DecodeError:
        return sha256(body).hexdigest()
