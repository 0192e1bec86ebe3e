"""The one vocabulary of what happens to a message. Records, logs, metrics and signals only listen to it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import msgspec

from .outcomes import ErrorInfo
from .progress import Progress
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
    :func:`recording.is_recorded`. ``progress``: how far the delivery is; ``report`` counts what it told of that while
    it ran.
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
    progress: Progress | None = None
    report: int = 0


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


_REPORT_BITS = 25
_LAST_REPORT = (1 << _REPORT_BITS) - 1
"""No delivery gets that far in half a year, at two reports a second; what it says at its end counts as this one."""


def progress_guard(event: Event) -> int:
    """One integer below 2**63 that rises with (life, delivery, report), as :func:`guard` does with what happens.

    It is apart from the guard because a delivery tells of its progress again and again, and nothing else changes.
    """
    report = min(event.report, _LAST_REPORT - 1) if event.kind is Kind.STARTED else _LAST_REPORT
    return progress_scope(event.life, event.delivery) << _REPORT_BITS | report


def progress_scope(life: int, delivery: int) -> int:
    """What all progress guards of one delivery begin with."""
    return min(life, (1 << _LIFE_BITS) - 1) << _DELIVERY_BITS | min(delivery, (1 << _DELIVERY_BITS) - 1)


def is_progress_of(known: int, life: int, delivery: int) -> bool:
    """Whether a progress guard is one of this delivery, so that what it stands beside is not an earlier one's."""
    return known >> _REPORT_BITS == progress_scope(life, delivery)
