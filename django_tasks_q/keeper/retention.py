"""The deletion of records that are too old, with their attempts, in batches.

Contract: only what is finished goes, by the time at which it finished; a record that begins a new life between the look
and the deletion stays. A sweep walks the index of creation once, so what it must leave costs it one look. A row that
somebody else has locked is left to the next sweep: nobody waits for this, and it waits for nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from .. import clock
from ..dialect import Change, ChangeInSteps, by_keys, dialect, ids, moment
from ..models import Attempt, MessageRecord, Stamp
from ..sql import Database, Row
from ..states import FINAL, State

_RECORDS = MessageRecord._meta.db_table
_ATTEMPTS = Attempt._meta.db_table
_STAMPS = Stamp._meta.db_table

GONE_WELL = frozenset({State.SUCCEEDED, State.SKIPPED})
"""What ``SUCCEEDED_TTL`` is for; ``DEAD_TTL`` is for the other final states."""


class Cutoffs(NamedTuple):
    """What finished before this goes, in epoch milliseconds: what went well, and the rest."""

    succeeded: int
    dead: int


class Batch(NamedTuple):
    """One step of a sweep: how many rows it looked at, and what it deleted."""

    looked_at: int
    records: int = 0
    attempts: int = 0


class Sweep:
    """One walk over all records that may be old enough.

    ``took`` is how many seconds of work the last step was; that it waited until it was its turn to write is not work,
    and whoever rests by it goes on under load as well.

    Parameters:
        on_deleted: called with each batch that deleted something, in its transaction.
    """

    def __init__(
        self, database: Database, cutoffs: Cutoffs, on_deleted: Callable[[Batch], object] = lambda batch: None
    ) -> None:
        self._database = database
        self._words = dialect(database)
        self._on_deleted = on_deleted
        # A record is not finished before it is created, so the walk ends there.
        self._end = moment(database, max(cutoffs))
        self._times = (moment(database, cutoffs.succeeded), moment(database, cutoffs.dead))
        self.took = 0.0
        self._unborn_after: str | None = ""
        self._dated_after: tuple[Any, str] | None = None

    def step(self) -> Batch | None:
        """Look at the next batch and delete what is too old; None when the sweep is over."""
        began = clock.monotonic()
        rows = self._next()
        self.took = clock.monotonic() - began
        doomed = [row[0] for row in rows if row[2]]
        if not doomed:
            return Batch(len(rows)) if rows else None
        with self._database.transaction():
            began = clock.monotonic()
            batch = self._delete(doomed, len(rows))
            self._on_deleted(batch)
        self.took += clock.monotonic() - began
        return batch

    def _next(self) -> Sequence[Row]:
        """The next rows: those of which nobody knows when they were created, then the others in that order."""
        if self._unborn_after is not None:
            rows = self._unborn(self._unborn_after)
            self._unborn_after = rows[-1][0] if rows else None
            if rows:
                return rows
        rows = self._dated()
        if rows:
            self._dated_after = (rows[-1][1], rows[-1][0])
        return rows

    def _unborn(self, after: str) -> list[Row]:
        mark = self._words.mark
        return self._database.rows(
            f"SELECT message_id, NULL, {self._is_old} FROM {_RECORDS} WHERE created_at IS NULL "
            f"AND message_id > {mark} ORDER BY message_id LIMIT {self._words.batch}",
            (*self._times, after),
        )

    def _dated(self) -> list[Row]:
        """In the order of creation, up to the first that is too young to be finished for long.

        That end is no condition: PostgreSQL would take a range for small, and sort all of it instead of walking.
        """
        mark = self._words.mark
        after, params = "", [*self._times, self._end]
        if self._dated_after is None:
            after = "WHERE created_at IS NOT NULL "
        else:
            created_at, message_id = self._dated_after
            after = f"WHERE created_at >= {mark} AND (created_at > {mark} OR message_id > {mark}) "
            params += [created_at, created_at, message_id]
        rows = self._database.rows(
            f"SELECT message_id, {self._words.sortable.format('created_at')}, {self._is_old}, created_at < {mark} "
            f"FROM {_RECORDS} {after}ORDER BY created_at, message_id LIMIT {self._words.batch}",
            params,
        )
        return list(takewhile(lambda row: row[3], rows))

    def _delete(self, doomed: Sequence[str], looked_at: int) -> Batch:
        words, database = self._words, self._database
        chosen = f"FROM {_RECORDS} WHERE message_id {words.in_ids} AND {self._is_old}{words.skip_locked}"
        if words.returning:
            change = Change(
                f"DELETE FROM {_RECORDS} WHERE message_id {words.among.format(f'SELECT message_id {chosen}')} "
                "RETURNING message_id"
            )
        else:
            by_id = by_keys(_RECORDS, "message_id", "VARCHAR(64)")
            change = ChangeInSteps(f"SELECT message_id, message_id {chosen}", f"DELETE {_RECORDS} FROM {by_id}")
        rows = change.run(database, (ids(database, doomed), *self._times))
        deleted = ids(database, [row[0] for row in rows])
        attempts = database.count(f"DELETE FROM {_ATTEMPTS} WHERE message_id {words.in_ids}", (deleted,))
        database.count(f"DELETE FROM {_STAMPS} WHERE message_id {words.in_ids}", (deleted,))
        return Batch(looked_at, len(rows), attempts)

    @property
    def _is_old(self) -> str:
        """Two parameters: the cutoffs."""
        mark = self._words.mark
        well, badly = _names(GONE_WELL), _names(FINAL - GONE_WELL)
        return f"((state IN ({well}) AND finished_at < {mark}) OR (state IN ({badly}) AND finished_at < {mark}))"


def prune(database: Database, before_ms: int) -> Iterator[int]:
    """Delete every record that finished before ``before_ms`` (epoch milliseconds), with its attempts.

    Yields how many went with each batch, and rests after it for as long as it took: workers go on meanwhile.
    """
    sweep = Sweep(database, Cutoffs(before_ms, before_ms))
    database.own()
    while (batch := sweep.step()) is not None:
        yield batch.records
        time.sleep(min(1.0, sweep.took))


def _names(states: frozenset[State]) -> str:
    return ", ".join(sorted(f"'{state.value}'" for state in states))
