"""Events folded into row changes: pure, so that every mirror writes the same truth.

Several events of one message become one change: what was born fills columns that are empty, what moved is
taken from the event with the highest guard, and every attempt that deserves a row keeps its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from .events import Birth, Event, Kind, guard
from .outcomes import ErrorInfo
from .states import FINAL, State


class AttemptRow(msgspec.Struct, frozen=True):
    """One row of the attempts of a message."""

    message_id: str
    number: int
    started_at: int | None
    finished_at: int
    worker: str
    outcome: str
    error: ErrorInfo | None


class RecordChange(msgspec.Struct):
    """What one batch of events changes in one record. Times are epoch milliseconds; ``None`` leaves a column alone."""

    message_id: str
    guard: int
    state: State
    retries: int
    deliveries: int
    lost: int
    life: int
    worker: str
    eta: int | None = None
    enqueued_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    reason: str = ""
    error: ErrorInfo | None = None
    birth: Birth | None = None


def fold(events: Iterable[Event]) -> tuple[list[RecordChange], list[AttemptRow]]:
    """The changes and attempts that ``events`` amount to; one change per message, in order of first appearance."""
    changes: dict[str, RecordChange] = {}
    attempts: list[AttemptRow] = []
    for event in events:
        if event.attempt_outcome:
            attempts.append(_attempt(event))
        change = _change(event)
        known = changes.get(event.message_id)
        changes[event.message_id] = change if known is None else _merge(known, change)
    return list(changes.values()), attempts


def _change(event: Event) -> RecordChange:
    return RecordChange(
        event.message_id,
        guard(event),
        event.state,
        event.attempt,
        event.delivery - 1 if event.kind in (Kind.PROMOTED, Kind.WITHDRAWN) else event.delivery,
        event.lost,
        event.life,
        event.worker,
        event.eta,
        event.at if event.state is State.ENQUEUED else None,
        event.started_at,
        event.at if event.state in FINAL else None,
        event.reason,
        event.error,
        event.birth,
    )


def _merge(first: RecordChange, second: RecordChange) -> RecordChange:
    """Both as one. The one with the higher guard speaks; what it does not mention is kept from the other."""
    newer, older = (second, first) if second.guard >= first.guard else (first, second)
    newer.birth = newer.birth or older.birth
    newer.worker = newer.worker or older.worker
    for name in ("eta", "enqueued_at", "started_at"):
        if getattr(newer, name) is None:
            setattr(newer, name, getattr(older, name))
    return newer


def _attempt(event: Event) -> AttemptRow:
    """An attempt is numbered by its delivery: a lost one spends no retry and would share the next one's number."""
    return AttemptRow(
        event.message_id, event.delivery, event.started_at, event.at, event.worker, event.attempt_outcome, event.error
    )
