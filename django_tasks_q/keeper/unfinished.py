"""Walks through the records of messages that are not finished, a bounded part at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import Any, NamedTuple

from .. import changes
from ..dialect import dialect, ids, moment, now_ms
from ..events import Event
from ..models import MessageRecord
from ..sql import Database
from ..states import State

ROUND = 1_000
BATCH = 100
"""Messages in one look at the broker, which hands them over whole."""

_RECORDS = MessageRecord._meta.db_table


class Record(NamedTuple):
    """What a record says of a message that is not finished. ``created_at`` as the database sorts it; other times are
    epoch milliseconds."""

    message_id: str
    created_at: Any
    guard: int
    life: int
    retries: int
    deliveries: int
    lost: int
    worker: str
    queue_name: str
    born_at: int
    enqueued_at: int | None
    started_at: int | None
    eta: int | None
    is_old: bool
    is_quiet: bool

    @property
    def moves_until(self) -> int:
        """The last time that it speaks of."""
        return max(self.born_at, self.enqueued_at or 0, self.started_at or 0, self.eta or 0)

    def missed(self, now: int) -> Event:
        numbers = changes.Numbers(self.life, self.retries, self.deliveries, self.lost)
        return changes.missed(self.message_id, now, numbers, self.guard, self.started_at, self.worker)


class Unfinished:
    """The records in some states, oldest first and then from the beginning; a batch is read when its turn comes.

    Parameters:
        quiet: milliseconds for which a record must not have changed: what moves now is nobody's loss.
    """

    def __init__(self, database: Database, states: Sequence[State], quiet: int) -> None:
        self._database = database
        self._states = states
        self._quiet = quiet
        self._walk = self._all()

    def next_round(self) -> list[list[Record]]:
        """The next batches; fewer than there is room for at the end of a walk."""
        batches = list(islice(self._walk, ROUND // BATCH))
        if len(batches) < ROUND // BATCH:
            self._walk = self._all()
        return batches

    def lock_unchanged(self, records: Sequence[Record]) -> list[Record]:
        """Those that are as they were read; they stay so until the open transaction ends."""
        words = dialect(self._database)
        rows = self._database.rows(
            f"SELECT message_id, guard, state FROM {_RECORDS} WHERE message_id {words.in_ids}{words.skip_locked}",
            (ids(self._database, [record.message_id for record in records]),),
        )
        guards = {row[0]: row[1] for row in rows if row[2] in self._states}
        return [record for record in records if guards.get(record.message_id) == record.guard]

    def _all(self) -> Iterator[list[Record]]:
        for state in self._states:
            after: tuple[Any, str] | None = None
            while batch := self._read(state, after):
                yield [record for record in batch if record.is_quiet]
                after = batch[-1].created_at, batch[-1].message_id

    def _read(self, state: State, after: tuple[Any, str] | None) -> list[Record]:
        """The next records of a state, up to the first that is too young.

        That end is no condition: PostgreSQL would take a range for small, and sort all of it instead of walking.
        """
        words = dialect(self._database)
        until = moment(self._database, now_ms(self._database) - self._quiet)
        mark, params = words.mark, [until, until, until]
        beyond = ""
        if after is not None:
            beyond = f"AND created_at >= {mark} AND (created_at > {mark} OR message_id > {mark}) "
            params += [after[0], *after]
        times = ", ".join(words.epoch_ms.format(name) for name in ("created_at", "enqueued_at", "started_at", "eta"))
        rows = self._database.rows(
            f"SELECT message_id, {words.sortable.format('created_at')}, guard, life, retries, deliveries, lost, "
            f"worker, queue_name, {times}, created_at < {mark}, "
            f"COALESCE(enqueued_at, created_at) < {mark} AND COALESCE(started_at, created_at) < {mark} FROM {_RECORDS} "
            # The second condition says what the first one implies: so that the index of unfinished records is used.
            f"WHERE state = '{state.value}' AND NOT (state = '{State.SUCCEEDED.value}') AND created_at IS NOT NULL "
            f"{beyond}ORDER BY created_at, message_id LIMIT {BATCH}",
            params,
        )
        return list(takewhile(lambda record: record.is_old, (Record(*row) for row in rows)))
