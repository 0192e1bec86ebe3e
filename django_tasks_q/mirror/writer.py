"""The writer of records: a batch of events in, a handful of statements out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from typing import Any

import msgspec

from .. import clock
from ..dialect import dialect
from ..events import Birth, Event, guard, is_of_later_delivery
from ..fold import AttemptRow, RecordChange, fold
from ..models import MessageRecord
from ..outcomes import ErrorInfo
from ..recording import Recording, is_recorded
from ..sql import Database
from . import stamp_rows, statements
from .batches import Batches, batches_for
from .text import json_text, storable

_NOBODY = Birth("", "", 0)


class RecordWriter:
    """Writes records and attempts of one database, in whatever transaction is open."""

    def __init__(self, database: Database, recording: Recording | None = None) -> None:
        self._database = database
        self.recording = recording or Recording()
        self._records = MessageRecord._meta.db_table

    def write(self, events: Iterable[Event]) -> int:
        """Write what ``events`` amount to. Returns how many messages' records moved or were born.

        Fewer than there are messages means that a record already knows better: the events were old.
        """
        recorded = [event for event in events if is_recorded(event)]
        changes, attempts = fold(recorded)
        births = [change for change in changes if change.birth is not None]
        moves = [change for change in changes if change.birth is None]
        moved = self._upsert(births) if births else 0
        if moves:
            updated = self._update(moves)
            if updated < len(moves):
                # Some record does not exist (or knows better, which the upsert finds out as well).
                updated += self._upsert(moves)
            moved += updated
        if attempts:
            self._insert(attempts)
        if births:
            self.write_stamps(recorded)
        progress = [_progress(change) for change in changes if change.progress is not None]
        if progress:
            self._batches.advance(progress)
        return moved

    def write_stamps(self, events: Iterable[Event]) -> None:
        """Write the stamps of the messages whose births are among these events, and nothing but these."""
        births = stamp_rows.telling(events)
        if births:
            stamp_rows.replace(self._database, births)

    def lose_sight(self, queue_names: Sequence[str], limit: int) -> int:
        """Up to ``limit`` records of messages that wait or run say ``unknown`` from now on; how many there were.

        ``queue_names``: only of these queues, and of messages whose queue nobody knows; empty for all.
        """
        names = ("", *queue_names) if queue_names else ()
        words = dialect(self._database)
        return self._database.count(statements.lose_sight(self._records, words, len(names)), (*names, limit))

    def disown(self, message_id: str) -> None:
        """The record of one message says ``unknown``, whatever its state."""
        self._database.count(statements.disown(self._records, dialect(self._database)), (message_id,))

    def find_again(self, found: Iterable[tuple[int, Event]]) -> int:
        """Records that say ``unknown`` take the event that tells where their message is now; how many did.

        Each with the guard that the record has: it may be that of the very event, which a gap made forgotten. Who knows
        of a later delivery stays as it is.
        """
        sql = statements.forget(self._records, dialect(self._database))
        events = [
            event
            for known, event in found
            if not is_of_later_delivery(known, guard(event))
            and self._database.count(sql, (guard(event) - 1, event.message_id, known))
        ]
        return self.write(events)

    def _update(self, changes: Sequence[RecordChange]) -> int:
        return self._batches.update([self._state(change) for change in changes])

    def _upsert(self, changes: Sequence[RecordChange]) -> int:
        return self._batches.upsert([self._state(change) + self._birth(change.birth) for change in changes])

    def _insert(self, attempts: Sequence[AttemptRow]) -> None:
        self._batches.insert([self._attempt(attempt) for attempt in attempts])

    @cached_property
    def _batches(self) -> Batches:
        return batches_for(self._database)

    def _state(self, change: RecordChange) -> tuple[Any, ...]:
        time = self._time
        kind, text, _ = _error(change.error)
        return (
            change.message_id,
            change.guard,
            change.state.value,
            change.retries,
            change.deliveries,
            change.lost,
            change.life,
            change.worker,
            time(change.eta),
            time(change.enqueued_at),
            time(change.started_at),
            time(change.finished_at),
            change.reason,
            kind,
            text,
        )

    def _birth(self, birth: Birth | None) -> tuple[Any, ...]:
        known = birth is not None
        birth = _NOBODY if birth is None else self.recording.shown(birth)
        return (
            birth.queue_name,
            storable(birth.actor_name),
            birth.app_label,
            birth.priority,
            _document(birth.args) if known else None,
            _document(birth.kwargs) if known else None,
            _document(birth.options) if known else None,
            birth.raw,
            self._time(birth.created_at) if known else None,
            storable(birth.correlation_id),
            birth.parent_id,
            birth.group_id,
        )

    def _attempt(self, attempt: AttemptRow) -> tuple[Any, ...]:
        return (
            attempt.message_id,
            attempt.number,
            self._time(attempt.started_at),
            self._time(attempt.finished_at),
            attempt.worker,
            attempt.outcome,
            *_error(attempt.error),
        )

    def _time(self, ms: int | None) -> Any:
        """Epoch milliseconds as the vendor's statements take them."""
        if ms is None or self._database.vendor == "postgresql":
            return ms
        return _as_text(ms)


@lru_cache(maxsize=4096)
def _as_text(ms: int) -> str:
    """A time as SQLite keeps it and MySQL reads it. The messages of a batch share most of their milliseconds."""
    return str(clock.as_datetime(ms).replace(tzinfo=None))


def _document(value: Any) -> str | None:
    """JSON text; NULL for what is not known, which is not the same as nothing."""
    return None if value is None else json_text(value)


def _progress(change: RecordChange) -> tuple[Any, ...]:
    assert change.progress is not None
    done, total, text = msgspec.structs.astuple(change.progress)
    return change.message_id, done, total, storable(text), change.progress_guard


def _error(error: ErrorInfo | None) -> tuple[str, str, str]:
    if error is None:
        return "", "", ""
    return storable(error.type), storable(error.message), storable(error.traceback)
