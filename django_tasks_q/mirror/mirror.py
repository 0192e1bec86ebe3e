"""The way of events from a journal into the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.db import DataError, IntegrityError

from ..clock import as_datetime
from ..events import Event
from ..journal import Gap, Journal
from ..logging import get_logger
from ..recording import Recording
from ..sql import Database
from .writer import RecordWriter

logger = get_logger(__name__)

_BAD_DATA = (DataError, IntegrityError, ValueError, OverflowError)
"""What databases and drivers raise for values that they cannot store."""


class Mirror:
    """Writes a journal's events as records, on a connection that only the engine uses.

    Each batch is read from the head, written, committed, and only then trimmed. Nothing is remembered here: after a
    ``kill -9`` anywhere the same events come again and change nothing, or are written for the first time.

    Parameters:
        on_gap: called when the records know of a gap, before the journal forgets it.
    """

    def __init__(
        self,
        journal: Journal,
        database: Database,
        recording: Recording,
        on_gap: Callable[[str, Gap], None] = lambda partition, gap: None,
    ) -> None:
        self._journal = journal
        self._database = database
        self._writer = RecordWriter(database, recording)
        self._on_gap = on_gap

    @property
    def _most(self) -> int:
        """Events in one transaction: SQLite has one writer, who must not keep the others waiting."""
        return 200 if self._database.vendor == "sqlite" else 1_000

    def advance(self, partition: str, limit: int = 1_000) -> int:
        """One batch; how much there was to write, 0 when the partition is empty.

        BrokerConnectionError when journal or database cannot be reached; then the events are still there.
        """
        stretch = self._journal.read(partition, min(limit, self._most))
        if stretch.gap is not None:
            return self._lose_sight(partition, stretch.gap)
        if stretch.events:
            self._write(stretch.events)
            self._journal.trim(partition, stretch)
        return len(stretch.events)

    def _lose_sight(self, partition: str, gap: Gap) -> int:
        """Nobody knows what happened to messages in a gap; what came after it proves the states of some again.

        Until all of them say so nothing that came after the gap is written, so doing it again takes nothing back.
        """
        with self._database.transaction():
            lost = self._writer.lose_sight(gap.queue_names, self._most)
        if lost:
            return lost
        since, until = as_datetime(gap.since), as_datetime(gap.until)
        logger.warning(
            "The journal had to drop %d events of %s, from %s to %s: what waited or ran then is recorded as unknown "
            "until something new is heard of it.",
            *(gap.dropped, partition, since, until),
        )
        self._on_gap(partition, gap)
        self._journal.trim_gap(partition, gap)
        return 1

    def _write(self, events: Sequence[Event]) -> None:
        """All of them, but for those that no database takes: one bad row must not keep the others back."""
        try:
            with self._database.transaction():
                self._writer.write(events)
        except _BAD_DATA as error:
            if len(events) == 1:
                self._leave_out(events[0], error)
                return
            middle = len(events) // 2
            self._write(events[:middle])
            self._write(events[middle:])

    def _leave_out(self, event: Event, error: Exception) -> None:
        """Its record cannot tell the truth any more, so it says that it does not know."""
        # Only the kind of error: the text may quote the values.
        logger.error("An event of %r cannot be stored (%s); it is left out.", event.message_id, type(error).__name__)
        try:
            with self._database.transaction():
                self._writer.disown(event.message_id)
        except _BAD_DATA:
            pass  # the id itself is the culprit, so it has no record
