"""The statements on waiting rows. All times are the database's own, so that hosts with other clocks agree.

Contract: a row belongs to whoever moved ``due_at`` into the future, until it is past. A sender claims only rows that
are not due (his own, or nobody else's would be), the relay only rows that are, so the two never take the same one.

Their life is -1, before the first: the waiting room may take in the same message before its sender has deleted the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from .. import clock
from ..broker import MAX_BATCH
from ..deliveries import Outgoing
from ..dialect import Dialect, by_keys, dialect, keys
from ..models import WaitingMessage
from ..sql import Database, Row

CLAIM = 15.0
"""Seconds that whoever publishes a row has for it. After that it is taken for dead and somebody else does it."""

_TABLE = WaitingMessage._meta.db_table
_COLUMNS = "message_id, queue_name, payload, parent_id, kind, due_at, created_at, life, attempt"
_COMMIT = f"'{WaitingMessage.Kind.COMMIT.value}'"
_LIFE = -1

_BY_MESSAGE = f"{_TABLE} FORCE INDEX (dtq_waiting_once)"
"""For MySQL: who reads all rows instead waits for those of others, who wait for his."""


class WaitingRow(NamedTuple):
    """A row that the relay has claimed. ``made_at``: not after it was written, epoch milliseconds of this machine."""

    id: int
    message_id: str
    payload: bytes
    parent_id: str
    made_at: int


class WaitingRows:
    """The waiting rows of one database, in whatever transaction is open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, outgoing: Sequence[Outgoing], *, claimed: bool) -> int:
        """Rows for messages whose transaction has not committed yet; ``claimed``: their sender will publish them.

        Returns how many there are now that were not there before.
        """
        rows = [(o.message.message_id, o.message.queue_name, o.payload, o.parent_id) for o in outgoing]
        claim = CLAIM if claimed else 0.0
        return sum(self._insert(rows[start : start + MAX_BATCH], claim) for start in range(0, len(rows), MAX_BATCH))

    def _insert(self, rows: Sequence[tuple[Any, ...]], claim: float) -> int:
        columns = f"{self._words.insert_new} {_TABLE} ({_COLUMNS})"
        if self._is_postgresql:
            arrays = [list(column) for column in zip(*rows, strict=True)]
            return self._database.count(
                f"{columns} SELECT *, {_COMMIT}, {self._words.in_seconds}, {self._now}, {_LIFE}, 0 "
                f"FROM unnest(%s::text[], %s::text[], %s::bytea[], %s::text[]){self._words.if_new}",
                (claim, *arrays),
            )
        m, words = self._mark, self._words
        return self._database.many(
            f"{columns} VALUES ({m}, {m}, {words.binary}, {m}, {_COMMIT}, {words.in_seconds}, {self._now}, {_LIFE}, 0)"
            f"{words.if_new}",
            [(*row, claim) for row in rows],
        )

    def claim_own(self, message_ids: Sequence[str]) -> set[str]:
        """The sender's claim after the commit: which rows are there, and still his to publish."""
        where = f"kind = {_COMMIT} AND message_id IN ({self._marks(message_ids)}) AND due_at > {self._now}"
        if not self._words.returning:
            found = self._claim(f"{_BY_MESSAGE} WHERE {where}{self._words.lock}", message_ids)
            return {row[1] for row in found}
        rows = self._database.rows(
            f"UPDATE {_TABLE} SET due_at = {self._words.in_seconds} WHERE {where} RETURNING message_id",
            (CLAIM, *message_ids),
        )
        return {row[0] for row in rows}

    def claim_due(self, limit: int = MAX_BATCH) -> list[WaitingRow]:
        """The relay's claim: rows that nobody is publishing, oldest first."""
        words, asked_at = self._words, clock.wall_ms()
        where = f"kind = {_COMMIT} AND due_at <= (SELECT {self._now}) ORDER BY id LIMIT {self._mark}{words.skip_locked}"
        if not words.returning:
            return self._claimed(self._claim(f"{_TABLE} WHERE {where}", (limit,)), asked_at)
        rows = self._database.rows(
            # Materialized: as a plain condition PostgreSQL may ask for it once for each row, beyond the limit.
            f"WITH batch AS MATERIALIZED (SELECT id FROM {_TABLE} WHERE {where}) "
            f"UPDATE {_TABLE} SET due_at = {words.in_seconds} "
            f"WHERE id {words.among.format('SELECT id FROM batch')} RETURNING {self._told}",
            (limit, CLAIM),
        )
        return self._claimed(rows, asked_at)

    @staticmethod
    def _claimed(rows: Sequence[Row], asked_at: int) -> list[WaitingRow]:
        """Rows with when they were made, from how old the database says they were when it answered."""
        return sorted(WaitingRow(row[0], row[1], bytes(row[2]), row[3], asked_at - int(row[4])) for row in rows)

    def _claim(self, where: str, params: Sequence[Any]) -> Sequence[Row]:
        """The same in two steps: the rows that are locked, then claimed."""
        with self._database.atomic(savepoint=False):
            found = self._database.rows(f"SELECT {self._told} FROM {where}", tuple(params))
            if found:
                sql = f"UPDATE {by_keys(_TABLE)} SET due_at = {self._words.in_seconds}"
                self._database.count(sql, (keys([row[0] for row in found]), CLAIM))
        return found

    def has_due(self) -> bool:
        """Whether there is something for the relay; reads one entry of an index."""
        first = f"(SELECT MIN(due_at) FROM {_TABLE} WHERE kind = {_COMMIT})"
        return bool(self._database.rows(f"SELECT {first} <= {self._now}")[0][0])

    def count(self, most: int = 10_000) -> int:
        """How many messages wait for their broker, counted up to ``most``."""
        sql = f"SELECT COUNT(*) FROM (SELECT 1 FROM {_TABLE} WHERE kind = {_COMMIT} LIMIT {self._mark}) AS w"
        return int(self._database.rows(sql, (most,))[0][0])

    def give_up(self, message_ids: Sequence[str]) -> None:
        """Leave rows to whoever comes first."""
        self._set_due(message_ids, self._now)

    def set_aside(self, message_ids: Sequence[str]) -> None:
        """Rows that no broker will ever take: they stay until somebody decides."""
        self._set_due(message_ids, "NULL")

    def _set_due(self, message_ids: Sequence[str], due: str) -> None:
        for start in range(0, len(message_ids), MAX_BATCH):
            batch = message_ids[start : start + MAX_BATCH]
            where = f"kind = {_COMMIT} AND message_id IN ({self._marks(batch)})"
            table = _TABLE if self._words.returning else _BY_MESSAGE
            self._database.count(f"UPDATE {table} SET due_at = {due} WHERE {where}", tuple(batch))

    def delete(self, message_ids: Sequence[str]) -> None:
        """The broker has these."""
        for start in range(0, len(message_ids), MAX_BATCH):
            batch = message_ids[start : start + MAX_BATCH]
            if self._words.returning:
                sql = f"DELETE FROM {_TABLE} WHERE kind = {_COMMIT} AND message_id IN ({self._marks(batch)})"
                self._database.count(sql, tuple(batch))
            else:
                by_message = by_keys(_TABLE, "message_id", "VARCHAR(64)", "dtq_waiting_once")
                self._database.count(f"DELETE {_TABLE} FROM {by_message} WHERE kind = {_COMMIT}", (keys(batch),))

    # Words of each vendor

    @cached_property
    def _words(self) -> Dialect:
        return dialect(self._database)

    @property
    def _is_postgresql(self) -> bool:
        return self._database.vendor == "postgresql"

    @property
    def _told(self) -> str:
        return f"id, message_id, payload, parent_id, {self._age}"

    @property
    def _mark(self) -> str:
        return self._words.mark

    @property
    def _now(self) -> str:
        return self._words.now

    def _marks(self, values: Sequence[Any]) -> str:
        return ", ".join([self._mark] * len(values))

    @property
    def _age(self) -> str:
        """How long a row has been there, in milliseconds."""
        return f"{self._words.now_ms} - {self._words.epoch_ms.format('created_at')}"
