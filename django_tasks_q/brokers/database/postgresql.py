"""The database broker on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...dialect import POSTGRESQL
from ...mirror import births, stamp_rows
from ...recording import Recording
from ...sql import Database, Row
from ...waker import Waker
from .headway import FRONT, Headway, Position
from .postgresql_wakeup import CHANNEL, PostgreSQLWakeup
from .queries import (
    DEFAULTS,
    DELIVERY,
    INSERTED,
    KEY_LENGTH,
    QUEUE,
    RECORDS,
    UNIQUE,
    WORKERS,
    Born,
    Queries,
    firsts,
    place_of,
)
from .wakeup import Wakeup

_STORED = (*births.COLUMNS, "place", "due_at", "payload", "record")
"""What a batch of new messages carries: the record's columns and those of the row in the queue."""

_STORED_TYPES = {
    "priority": "smallint", "place": "smallint", "due_at": "bigint", "payload": "bytea", "eta": "bigint",
    "record": "bool", "enqueued_at": "bigint", "created_at": "bigint",
}  # fmt: skip

_HELD = "CASE WHEN q.place = 2 THEN q.owner = %s ELSE false END"
"""What one worker holds, as a condition that neither its index serves nor the planner takes for one that few rows meet.

A table that is empty most of the time was seen so by the server, or not at all. It takes whatever is joined with it
for one row then, and reads it once for each row of the batch: settling 250 took 11 ms instead of 0.6, and claiming a
hundred of 12,000 that wait 200 ms instead of 1.5. So the hot path names rows by their keys, as an array, and what is
joined with them is not told that it is little.
"""

_CHOSEN = f"q.id {POSTGRESQL.among.format('SELECT id FROM s')}"
_NUMBER = "(ARRAY(SELECT number FROM s))[array_position(ARRAY(SELECT id FROM s), q.id)]"


class PostgreSQL(Queries):
    """Batches travel as arrays; claimers step over each other's locks."""

    words = POSTGRESQL
    sends_alone = True
    looks_first = False

    def __init__(self) -> None:
        super().__init__()
        types = [_STORED_TYPES.get(name, "text") for name in _STORED]
        one = ", ".join(f"%s::{kind}" for kind in types)
        many = ", ".join(f"%s::{kind}[]" for kind in types)
        self._store_one = self._storing(f"(VALUES ({one}, 1)) AS v({', '.join(_STORED)}, line)")
        """One message: row, record and wake-up in one statement. Parameters: one for each of ``_STORED``."""
        self._store_many = self._storing(f"unnest({many}) WITH ORDINALITY AS v({', '.join(_STORED)}, line)")
        """A batch, in its order. Parameters: one array for each of ``_STORED``."""
        keyed = f"unnest({many}, %s::text[], %s::bigint[]) WITH ORDINALITY"
        self._store_unique = self._storing(
            # In line in their own order, but inserted in that of their keys: whoever sends the same keys waits at the
            # first of them, and no two wait for each other.
            f"(SELECT v.*, nextval(pg_get_serial_sequence('{QUEUE}', 'id')) AS id FROM (SELECT * FROM {keyed} "
            f"AS v({', '.join((*_STORED, 'unique_key', 'ttl'))}, line) ORDER BY line) AS v) AS v",
            unique=True,
        )
        """Messages that take keys. Parameters: one array for each of ``_STORED``, keys and their times to live."""
        self._finish = (
            "WITH s AS MATERIALIZED (SELECT * FROM unnest(%s::bigint[], %s::int[]) AS s(id, number)) "
            f"DELETE FROM {QUEUE} AS q WHERE {_CHOSEN} AND {_HELD} AND q.deliveries = {_NUMBER} RETURNING q.id"
        )
        self._move = (
            "WITH s AS MATERIALIZED (SELECT * FROM unnest(%s::smallint[], %s::bigint[], %s::int[], %s::int[], "
            "%s::text[], %s::bool[], %s::bytea[], %s::bigint[], %s::int[]) "
            "AS s(place, delay, retries, lost, reason, dead, payload, id, number)) "
            f"UPDATE {QUEUE} AS q SET place = s.place, due_at = {self.now} + s.delay, retries = s.retries, "
            f"lost = s.lost, dead_reason = s.reason, died_at = CASE WHEN s.dead THEN {self.now} ELSE 0 END, "
            f"unique_key = CASE WHEN s.dead AND LENGTH(q.unique_key) = {KEY_LENGTH} "
            "THEN q.unique_key || '/' || q.id ELSE q.unique_key END, "
            "payload = COALESCE(s.payload, q.payload), owner = '', started_at = 0 "
            f"FROM s WHERE {_CHOSEN} AND {_HELD} AND q.id = s.id AND q.deliveries = s.number RETURNING q.id"
        )
        lines = (
            "SELECT m.id FROM unnest(%s::text[], %s::int[], %s::smallint[], %s::bigint[]) "
            "AS w(queue_name, quota, priority, id) CROSS JOIN LATERAL ("
            f"SELECT id FROM {QUEUE} WHERE place = 0 AND queue_name = w.queue_name "
            "AND (priority, id) > (w.priority, w.id) ORDER BY priority, id LIMIT w.quota FOR UPDATE SKIP LOCKED) AS m "
            "WHERE EXISTS (SELECT 1 FROM me) LIMIT %s"
        )
        self._claim = self._taking(lines)
        """Parameters: the worker id, names, quotas, priorities and ids behind which to look, room, owner."""
        self._claim_alone = self._taking(lines, " AND set_config('synchronous_commit', 'off', true) IS NOT NULL")
        """The same as a transaction of its own that does not wait for the disk.

        A server that crashes may forget the claim: then the message is claimed once more, as after any crash.
        """
        self._claim_suspects = self._taking(
            f"SELECT id FROM {QUEUE} WHERE place = 4 AND EXISTS (SELECT 1 FROM me) "
            "ORDER BY priority, id LIMIT %s FOR UPDATE SKIP LOCKED"
        )
        """Parameters: the worker id, limit, owner."""

    def store(self, database: Database, born: Sequence[Born], recording: Recording) -> int:
        # One statement cannot touch a row twice, so of two messages with one id it is told of the first only.
        rows = [_stored(one, recording) for one in firsts(born)]
        if not rows:
            return 0
        if len(rows) == 1:
            return len(_new(database, born, database.rows(self._store_one, rows[0])))
        return len(_new(database, born, database.rows(self._store_many, _columns(rows))))

    def store_unique(self, database: Database, born: Sequence[Born], recording: Recording) -> set[str]:
        rows = []
        for one in firsts(born):
            unique = one[0].unique
            assert unique is not None
            rows.append((*_stored(one, recording), unique.key, unique.ttl))
        return _new(database, born, database.rows(self._store_unique, _columns(rows)))

    def finish(self, database: Database, worker_id: str, claims: Sequence[tuple[int, int]]) -> set[int]:
        return {row[0] for row in database.rows(self._finish, [*_columns(claims), worker_id])}

    def move(self, database: Database, worker_id: str, rows: Sequence[Row]) -> set[int]:
        return {row[0] for row in database.rows(self._move, [*_columns(rows), worker_id])}

    def take(
        self, database: Database, worker_id: str, shares: Sequence[tuple[str, int]], room: int, *, alone: bool
    ) -> list[Row]:
        return self.take_behind(database, worker_id, shares, room, {}, alone=alone)

    def take_behind(
        self,
        database: Database,
        worker_id: str,
        shares: Sequence[tuple[str, int]],
        room: int,
        places: Mapping[str, Position],
        *,
        alone: bool,
    ) -> list[Row]:
        wanted = [(name, share, *places.get(name, FRONT)) for name, share in shares]
        params = (worker_id, *_columns(wanted), room, worker_id)
        return database.rows(self._claim_alone if alone else self._claim, params)

    def claimer(self) -> Headway:
        return Headway(self)

    def take_suspects(self, database: Database, worker_id: str, room: int, *, alone: bool) -> list[Row]:
        return database.rows(self._claim_suspects, (worker_id, room, worker_id))

    def wakeup(self, database: Database, waker: Waker, has_news: Callable[[], bool]) -> Wakeup:
        return PostgreSQLWakeup(database, waker)

    def notify(self, database: Database) -> None:
        database.rows(f"SELECT pg_notify('{CHANNEL}', '')")

    def _storing(self, source: str, *, unique: bool = False) -> str:
        """Returns the ids that were new, each with its life: one with a former life gets the next. An id that is known
        stays as it is."""
        columns = (*INSERTED, "life", "enqueued_at", *DEFAULTS, *((*UNIQUE, "id") if unique else ()))
        chosen = ", ".join(f"u.{name}" for name in INSERTED)
        key = f", u.unique_key, {self.now} + u.ttl, u.id" if unique else ""
        life = f"COALESCE((SELECT r.life + 1 FROM {RECORDS} AS r WHERE r.message_id = u.message_id), 0)"
        return (
            f"WITH u AS MATERIALIZED (SELECT * FROM {source}), "
            f"q AS (INSERT INTO {QUEUE} ({', '.join(columns)}) SELECT {chosen}, {life}, {self.now}, "
            f"{', '.join(DEFAULTS.values())}{key} FROM u ORDER BY {'u.unique_key, ' if unique else ''}u.line "
            f"ON CONFLICT {'' if unique else '(message_id)'} DO NOTHING RETURNING message_id, life), "
            f"b AS ({births.postgresql_insert(RECORDS, 'q', 'u')}), "
            f"n AS MATERIALIZED (SELECT pg_notify('{CHANNEL}', '')) "
            "SELECT q.message_id, q.life FROM q, n"
        )

    def _taking(self, lines: str, setting: str = "") -> str:
        returned = ", ".join(f"q.{name.strip()}" for name in DELIVERY.split(","))
        return (
            # Locking the lease makes a burial wait until this claim is visible to it, and the other way round.
            f"WITH me AS MATERIALIZED (SELECT 1 FROM {WORKERS} WHERE worker_id = %s{setting} FOR SHARE), "
            f"taken AS MATERIALIZED ({lines}) "
            f"UPDATE {QUEUE} AS q SET place = 2, owner = %s, deliveries = deliveries + 1 "
            f"WHERE q.id {POSTGRESQL.among.format('SELECT id FROM taken')} RETURNING {returned}, q.priority"
        )


def _stored(born: Born, recording: Recording) -> tuple[Any, ...]:
    """One message as the statement takes it."""
    item, event = born
    return (*births.row(event, recording), place_of(event), event.eta or 0, item.payload, item.record)


def _new(database: Database, born: Sequence[Born], rows: Sequence[Row]) -> set[str]:
    """The ids that were new. What the record of a former life was stamped with does not belong to the next."""
    again = {message_id for message_id, life in rows if life}
    if again:
        recorded = {event.message_id for item, event in born if item.record}
        stamp_rows.forget(database, list(again & recorded))
    return {message_id for message_id, _ in rows}


def _columns(rows: Sequence[Row]) -> list[list[object]]:
    """Rows as one list for each column, which is how a batch travels."""
    return [list(column) for column in zip(*rows, strict=True)]
