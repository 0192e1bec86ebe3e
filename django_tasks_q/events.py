"""The one vocabulary of what happens to a message. Records, logs, metrics and signals only listen to it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import msgspec

from .outcomes import ErrorInfo
from .states import State


class Kind(IntEnum):
    """What happened, in the order in which it can happen within one delivery: the lowest bits of the guard."""

    PENDING = -1
    """Waits for its broker, which has never seen it: a guard below all others."""
    CREATED = 0
    PROMOTED = 1
    STARTED = 2
    HANDED_BACK = 3
    SETTLED = 4
    WITHDRAWN = 5
    """Taken away while it waited: like a promotion, it belongs to the delivery that would have come next."""
    MISSED = 6
    """The broker does not know it any more, and nobody saw it end."""


class Birth(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a message from the start and never changes; arguments that are None are not known."""

    queue_name: str
    actor_name: str
    created_at: int
    priority: int = 0
    app_label: str = ""
    args: Sequence[Any] | None = ()
    kwargs: dict[str, Any] | None = {}
    options: dict[str, Any] | None = {}
    correlation_id: str = ""
    parent_id: str = ""
    group_id: str = ""
    raw: bytes | None = None
    stamps: dict[str, list[str]] = {}


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change of one message.

    ``life``, ``attempt`` and ``delivery`` are its counters *after* the change (``attempt``: failed attempts so far;
    ``delivery``: claims so far; a promotion belongs to the delivery that it makes possible). ``at``, ``eta`` and
    ``started_at`` are epoch milliseconds. ``attempt_outcome`` is set where the change ends an attempt that deserves a
    row of its own: ``failed``, ``lost``, ``time_limit``, ``interrupted``, ``late``. ``record``: see
    :func:`recording.is_recorded`.
    """

    kind: Kind
    message_id: str
    state: State
    at: int
    life: int = 0
    attempt: int = 0
    delivery: int = 0
    lost: int = 0
    eta: int | None = None
    started_at: int | None = None
    worker: str = ""
    reason: str = ""
    attempt_outcome: str = ""
    error: ErrorInfo | None = None
    birth: Birth | None = None
    record: bool = True


_LIFE_BITS, _ATTEMPT_BITS, _DELIVERY_BITS, _KIND_BITS = 12, 20, 26, 5
LIFE_SHIFT = _ATTEMPT_BITS + _DELIVERY_BITS + _KIND_BITS
"""A guard shifted by this is the life."""


def is_of_later_delivery(guard: int, than: int) -> bool:
    """Whether one guard tells of a later life, attempt or delivery than another, whatever happened in it."""
    return guard >> _KIND_BITS > than >> _KIND_BITS


def guard(event: Event) -> int:
    """One integer below 2**63 that rises with (life, attempt, delivery, kind).

    A record takes a change only when its guard rises, so events may come late, twice or in any order and a record
    never moves backwards. A counter that outgrows its bits stays at its highest value instead of spilling over.
    """
    if event.kind is Kind.PENDING:
        return -1
    packed = min(event.life, (1 << _LIFE_BITS) - 1)
    packed = packed << _ATTEMPT_BITS | min(event.attempt, (1 << _ATTEMPT_BITS) - 1)
    packed = packed << _DELIVERY_BITS | min(event.delivery, (1 << _DELIVERY_BITS) - 1)
    return packed << _KIND_BITS | event.kind
