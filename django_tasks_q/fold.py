"""Events folded into row changes: pure, so that every mirror writes the same truth.

Several events of one message become one change, the same in whatever order they come: what moved is taken from the
event with the highest guard; of the times that later events do not repeat (when it was due, when it came into its
queue) each life keeps the latest; of two births, which an id has that was sent again, the younger one counts; and every
attempt that deserves a row keeps its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from .events import Birth, Event, Kind, guard, progress_guard
from .outcomes import ErrorInfo
from .progress import Progress
from .states import FINAL, State

LATE = "late"
"""The outcome of an attempt whose worker did not own the message any more: it is told of and moves nothing."""


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
    """What one batch of events changes in one record. Times are epoch milliseconds.

    ``worker``, ``started_at`` and ``finished_at`` belong to the last change and are empty when it has none; ``eta`` and
    ``enqueued_at`` are the latest of the life, where ``None`` says that nothing was heard of them. ``progress`` is the
    one with the highest ``progress_guard``, which has nothing to do with the other.
    """

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
    progress: Progress | None = None
    progress_guard: int = -1


def fold(events: Iterable[Event]) -> tuple[list[RecordChange], list[AttemptRow]]:
    """The changes and attempts that ``events`` amount to; one change per message, in order of first appearance."""
    changes: dict[str, RecordChange] = {}
    attempts: list[AttemptRow] = []
    for event in events:
        if event.attempt_outcome:
            attempts.append(_attempt(event))
            if event.attempt_outcome == LATE:
                continue  # whoever owns the message now says what becomes of it
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
        event.progress,
        -1 if event.progress is None else progress_guard(event),
    )


def _merge(first: RecordChange, second: RecordChange) -> RecordChange:
    """Both as one. The one with the higher guard speaks; what it does not mention is kept from the other."""
    newer, older = (second, first) if second.guard >= first.guard else (first, second)
    newer.birth = _birth(newer, older)
    if older.progress_guard > newer.progress_guard:
        newer.progress, newer.progress_guard = older.progress, older.progress_guard
    if newer.life == older.life:
        newer.eta = _later(newer.eta, older.eta)
        newer.enqueued_at = _later(newer.enqueued_at, older.enqueued_at)
    return newer


def _later(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else max(first, second)


def _birth(newer: RecordChange, older: RecordChange) -> Birth | None:
    """What both know of the beginning."""
    if newer.birth is None or older.birth is None:
        return newer.birth or older.birth
    if newer.birth.raw is not None:  # it could not be read in the end, which is no beginning
        return msgspec.structs.replace(older.birth, raw=newer.birth.raw)
    is_younger = older.birth.raw is None and older.birth.created_at > newer.birth.created_at
    return older.birth if is_younger else newer.birth


def _attempt(event: Event) -> AttemptRow:
    """An attempt is numbered by its delivery: a lost one spends no retry and would share the next one's number."""
    return AttemptRow(
        event.message_id, event.delivery, event.started_at, event.at, event.worker, event.attempt_outcome, event.error
    )
