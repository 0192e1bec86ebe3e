"""The database broker's statements, for each vendor.

The queue is one table of messages that are not finished, and one of live workers. Contract of the statements a worker
runs: a claim needs the worker's lease to exist and locks it, so that a burial waits for it or makes it find nothing; a
settlement names (id, deliveries, owner) and does nothing when they do not fit any more.

``place``: 0 ready, 1 delayed, 2 in flight, 3 dead, 4 suspect; literals, so that the partial indexes are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import dialect
from ...deliveries import Delivery
from ...mirror import births
from ...models import MessageRecord, QueuedMessage, QueueWorker

QUEUE = f'"{QueuedMessage._meta.db_table}"'
RECORDS = f'"{MessageRecord._meta.db_table}"'
WORKERS = f'"{QueueWorker._meta.db_table}"'

CHANNEL = "django_tasks_q"
"""Where PostgreSQL tells waiting workers that there is something to fetch."""

_DELIVERY = "id, message_id, queue_name, payload, deliveries, retries, lost, life, enqueued_at, record"
"""See :func:`delivery`."""

_MOVED = "message_id, life, retries, deliveries, lost, record"
"""What the event of a message tells that nobody runs."""

_DEFAULTS = {"owner": "''", "deliveries": "0", "retries": "0", "lost": "0", "started_at": "0"} | {
    "dead_reason": "''",
    "died_at": "0",
}
_INSERTED = ("message_id", "queue_name", "place", "priority", "due_at", "payload", "record")
STORED = (*births.COLUMNS, "place", "due_at", "payload", "record")
"""What a batch of new messages carries on PostgreSQL: the record's columns and those of the row in the queue."""

_STORED_TYPES = {
    "priority": "smallint", "place": "smallint", "due_at": "bigint", "payload": "bytea", "eta": "bigint",
    "record": "bool", "enqueued_at": "bigint", "created_at": "bigint",
}  # fmt: skip


class Queries:
    """What both vendors say alike. ``{now}`` is the database's time in epoch milliseconds."""

    now = ""
    mark = "%s"
    skip_locked = ""

    def __init__(self) -> None:
        m = self.mark
        self.select_now = f"SELECT {self.now}"
        self.register = (
            f"INSERT INTO {WORKERS} (worker_id, expires_at) VALUES ({m}, {self.now} + {m}) "
            "ON CONFLICT (worker_id) DO NOTHING"
        )
        self.is_registered = f"SELECT 1 FROM {WORKERS} WHERE worker_id = {m}"
        self.unregister = f"DELETE FROM {WORKERS} WHERE worker_id = {m}"
        self.expired = f"SELECT worker_id FROM {WORKERS} WHERE expires_at < {self.now}"
        self.orphans = (
            f"SELECT DISTINCT owner FROM {QUEUE} WHERE place = 2 AND owner NOT IN (SELECT worker_id FROM {WORKERS})"
        )
        self.owned = f"SELECT {_DELIVERY}, started_at FROM {QUEUE} WHERE place = 2 AND owner = {m}"
        self.next_due = f"SELECT MIN(due_at) - {self.now} FROM {QUEUE} WHERE place = 1"
        self.promote = (
            # Materialized here and below: as a plain condition PostgreSQL may ask for the batch once for each row, get
            # another one each time, since the last was locked, and go beyond the limit.
            f"WITH batch AS MATERIALIZED (SELECT id FROM {QUEUE} WHERE place = 1 AND due_at <= {self.now} "
            f"ORDER BY due_at LIMIT {m}{self.skip_locked}) "
            f"UPDATE {QUEUE} SET place = 0, enqueued_at = {self.now} WHERE place = 1 AND id IN (SELECT id FROM batch) "
            f"RETURNING {_MOVED}"
        )
        self.start = (
            f"UPDATE {QUEUE} SET started_at = {m} WHERE id = {m} AND deliveries = {m} AND owner = {m} AND place = 2"
        )
        self.has_suspects = f"SELECT 1 FROM {QUEUE} WHERE place = 4 LIMIT 1"
        self.counts = (
            f"SELECT queue_name, place, COUNT(*), MIN(enqueued_at), {self.now} FROM {QUEUE} GROUP BY queue_name, place"
        )
        self.flush = f"DELETE FROM {QUEUE} WHERE queue_name = {m} AND place IN (0, 1, 3, 4) RETURNING {_MOVED}"
        self.expire = (
            f"WITH batch AS MATERIALIZED (SELECT id FROM {QUEUE} WHERE place = 3 "
            f"AND died_at < {self.now} - {m} ORDER BY died_at LIMIT {m}{self.skip_locked}) "
            f"DELETE FROM {QUEUE} WHERE place = 3 AND id IN (SELECT id FROM batch) RETURNING {_MOVED}"
        )
        """Dead letters that are too old. Parameters: their time to live in milliseconds, how many at most."""
        self.drop_dead = f"DELETE FROM {QUEUE} WHERE place = 3 AND message_id = {m} RETURNING {_MOVED}"

    def renew(self, workers: int) -> str:
        """Parameters: the lease in milliseconds, then the ids."""
        marks = ", ".join([self.mark] * workers)
        return f"UPDATE {WORKERS} SET expires_at = {self.now} + {self.mark} WHERE worker_id IN ({marks})"

    def requeue(self, messages: int) -> str:
        """Dead letters to a new life. Parameters: their ids."""
        marks = ", ".join([self.mark] * messages)
        return (
            f"UPDATE {QUEUE} SET place = 0, life = life + 1, retries = 0, lost = 0, dead_reason = '', died_at = 0, "
            f"owner = '', started_at = 0, enqueued_at = {self.now} WHERE place = 3 AND message_id IN ({marks}) "
            "RETURNING message_id, life, deliveries, record"
        )

    def discard(self, messages: int) -> str:
        """Parameters: the ids of messages; those that are running stay."""
        marks = ", ".join([self.mark] * messages)
        return f"DELETE FROM {QUEUE} WHERE place IN (0, 1, 3, 4) AND message_id IN ({marks}) RETURNING {_MOVED}"

    def look_up(self, messages: int) -> str:
        """Deliveries with place, due time and owner. Parameters: the ids of messages."""
        marks = ", ".join([self.mark] * messages)
        return f"SELECT {_DELIVERY}, place, due_at, owner FROM {QUEUE} WHERE message_id IN ({marks})"

    def recorded(self, messages: int) -> str:
        """Which of these messages have a record. Parameters: their ids."""
        marks = ", ".join([self.mark] * messages)
        return f"SELECT message_id FROM {RECORDS} WHERE message_id IN ({marks})"

    def settled(self, messages: int) -> str:
        """What the records say of these messages: id, life, state, deliveries, worker. Parameters: their ids."""
        marks = ", ".join([self.mark] * messages)
        return f"SELECT message_id, life, state, deliveries, worker FROM {RECORDS} WHERE message_id IN ({marks})"

    def has_work(self, queues: int) -> str:
        """Whether one of the queues has something ready; reads only. Parameters: their names."""
        marks = ", ".join([self.mark] * queues)
        return f"SELECT EXISTS(SELECT 1 FROM {QUEUE} WHERE place = 0 AND queue_name IN ({marks}))"

    def peek(self, place: int) -> str:
        """Parameters: queue name, limit."""
        order = {0: "priority, id", 1: "due_at, id", 3: "died_at, id"}.get(place, "id")
        return (
            f"SELECT {_DELIVERY} FROM {QUEUE} WHERE place = {place} AND queue_name = {self.mark} "
            f"ORDER BY {order} LIMIT {self.mark}"
        )


class SQLite(Queries):
    """One writer at a time: statements are short, and batches travel as JSON or row by row in one transaction."""

    now = dialect.SQLITE.now_ms
    mark = dialect.SQLITE.mark

    def __init__(self) -> None:
        super().__init__()
        columns = (*_INSERTED, "life", "enqueued_at", *_DEFAULTS)
        marks = ["?"] * len(_INSERTED)
        self.insert = (
            f"INSERT INTO {QUEUE} ({', '.join(columns)}) VALUES ({', '.join(marks)}, "
            f"COALESCE((SELECT life + 1 FROM {RECORDS} WHERE message_id = ?), 0), {self.now}, "
            f"{', '.join(_DEFAULTS.values())}) ON CONFLICT (message_id) DO NOTHING"
        )
        """Parameters: message_id, queue_name, place, priority, due_at, payload, record, and message_id again."""
        self.insert_record = births.sqlite_insert(MessageRecord._meta.db_table)
        self.finish = (
            f"DELETE FROM {QUEUE} WHERE place = 2 AND owner = ? AND id IN ("
            f"SELECT q.id FROM json_each(?) AS s JOIN {QUEUE} AS q ON q.id = json_extract(s.value, '$[0]') "
            "WHERE q.deliveries = json_extract(s.value, '$[1]')) RETURNING id"
        )
        self.move = (
            f"UPDATE {QUEUE} SET place = ?, due_at = {self.now} + ?, retries = ?, lost = ?, dead_reason = ?, "
            f"died_at = CASE WHEN ? THEN {self.now} ELSE 0 END, payload = COALESCE(?, payload), owner = '', "
            "started_at = 0 WHERE place = 2 AND owner = ? AND id = ? AND deliveries = ?"
        )

    def claim(self, queues: int) -> str:
        """Parameters: owner, then queue name and quota for each queue, then the room and the worker id."""
        lines = " UNION ALL ".join(
            [
                f"SELECT id FROM (SELECT id FROM {QUEUE} WHERE place = 0 AND queue_name = ? "
                "ORDER BY priority, id LIMIT ?)"
            ]
            * queues
        )
        return self._take(f"SELECT id FROM ({lines}) LIMIT ?")

    @property
    def claim_suspects(self) -> str:
        """Parameters: owner, limit, the worker id."""
        return self._take(f"SELECT id FROM {QUEUE} WHERE place = 4 ORDER BY priority, id LIMIT ?")

    def _take(self, lines: str) -> str:
        return (
            f"UPDATE {QUEUE} SET place = 2, owner = ?, deliveries = deliveries + 1 WHERE id IN ({lines}) "
            f"AND EXISTS (SELECT 1 FROM {WORKERS} WHERE worker_id = ?) RETURNING {_DELIVERY}, priority"
        )


class PostgreSQL(Queries):
    """Batches travel as arrays; claimers step over each other's locks."""

    now = dialect.POSTGRESQL.now_ms
    skip_locked = dialect.POSTGRESQL.skip_locked
    notify = f"SELECT pg_notify('{CHANNEL}', '')"
    listen = f"LISTEN {CHANNEL}"

    def __init__(self) -> None:
        super().__init__()
        types = [_STORED_TYPES.get(name, "text") for name in STORED]
        one = ", ".join(f"%s::{kind}" for kind in types)
        many = ", ".join(f"%s::{kind}[]" for kind in types)
        self.store_one = self._store(f"(VALUES ({one}, 1)) AS v({', '.join(STORED)}, line)")
        """One message: row, record and wake-up in one statement. Parameters: one for each of ``STORED``."""
        self.store_many = self._store(f"unnest({many}) WITH ORDINALITY AS v({', '.join(STORED)}, line)")
        """A batch, in its order. Parameters: one array for each of ``STORED``."""
        self.finish = (
            f"DELETE FROM {QUEUE} AS q USING unnest(%s::bigint[], %s::int[]) AS s(id, number) "
            "WHERE q.place = 2 AND q.owner = %s AND q.id = s.id AND q.deliveries = s.number RETURNING q.id"
        )
        self.move = (
            f"UPDATE {QUEUE} AS q SET place = s.place, due_at = {self.now} + s.delay, retries = s.retries, "
            f"lost = s.lost, dead_reason = s.reason, died_at = CASE WHEN s.dead THEN {self.now} ELSE 0 END, "
            "payload = COALESCE(s.payload, q.payload), owner = '', started_at = 0 "
            "FROM unnest(%s::smallint[], %s::bigint[], %s::int[], %s::int[], %s::text[], %s::bool[], %s::bytea[], "
            "%s::bigint[], %s::int[]) AS s(place, delay, retries, lost, reason, dead, payload, id, number) "
            "WHERE q.place = 2 AND q.owner = %s AND q.id = s.id AND q.deliveries = s.number RETURNING q.id"
        )
        lines = (
            f"SELECT m.id FROM unnest(%s::text[], %s::int[]) AS w(queue_name, quota) CROSS JOIN LATERAL ("
            f"SELECT id FROM {QUEUE} WHERE place = 0 AND queue_name = w.queue_name "
            "ORDER BY priority, id LIMIT w.quota FOR UPDATE SKIP LOCKED) AS m WHERE EXISTS (SELECT 1 FROM me) LIMIT %s"
        )
        self.claim = self._take(lines)
        """Parameters: the worker id, names, quotas, room, owner."""
        self.claim_alone = self._take(lines, " AND set_config('synchronous_commit', 'off', true) IS NOT NULL")
        """The same as a transaction of its own that does not wait for the disk.

        A server that crashes may forget the claim: then the message is claimed once more, as after any crash.
        """
        self.claim_suspects = self._take(
            f"SELECT id FROM {QUEUE} WHERE place = 4 AND EXISTS (SELECT 1 FROM me) "
            "ORDER BY priority, id LIMIT %s FOR UPDATE SKIP LOCKED"
        )
        """Parameters: the worker id, limit, owner."""

    def _store(self, source: str) -> str:
        """Returns the ids that were new. An id that is known stays as it is; one with a former life gets the next."""
        columns = (*_INSERTED, "life", "enqueued_at", *_DEFAULTS)
        chosen = ", ".join(f"u.{name}" for name in _INSERTED)
        return (
            f"WITH u AS MATERIALIZED (SELECT * FROM {source}), "
            f"q AS (INSERT INTO {QUEUE} ({', '.join(columns)}) SELECT {chosen}, COALESCE(r.life + 1, 0), {self.now}, "
            f"{', '.join(_DEFAULTS.values())} FROM u LEFT JOIN {RECORDS} AS r ON r.message_id = u.message_id "
            "ORDER BY u.line ON CONFLICT (message_id) DO NOTHING RETURNING message_id, life), "
            f"b AS ({births.postgresql_insert(MessageRecord._meta.db_table, 'q', 'u')}), "
            f"n AS MATERIALIZED (SELECT pg_notify('{CHANNEL}', '')) "
            "SELECT q.message_id FROM q, n"
        )

    def _take(self, lines: str, setting: str = "") -> str:
        returned = ", ".join(f"q.{name.strip()}" for name in _DELIVERY.split(","))
        return (
            # Locking the lease makes a burial wait until this claim is visible to it, and the other way round.
            f"WITH me AS MATERIALIZED (SELECT 1 FROM {WORKERS} WHERE worker_id = %s{setting} FOR SHARE), "
            f"taken AS MATERIALIZED ({lines}) "
            f"UPDATE {QUEUE} AS q SET place = 2, owner = %s, deliveries = deliveries + 1 "
            f"FROM taken WHERE q.id = taken.id RETURNING {returned}, q.priority"
        )


def queries_for(vendor: str) -> SQLite | PostgreSQL:
    """The statements of a vendor. NotImplementedError, in words, for one that has none."""
    known: dict[str, type[SQLite] | type[PostgreSQL]] = {"sqlite": SQLite, "postgresql": PostgreSQL}
    if vendor not in known:
        raise ValueError(f"The database broker does not know {vendor!r}; it runs on SQLite and PostgreSQL.")
    return known[vendor]()


def delivery(row: Sequence[Any]) -> Delivery:
    """The delivery that a row begins with."""
    return Delivery(row[0], row[1], row[2], bytes(row[3]), row[4], row[5], row[6], row[7], row[8], bool(row[9]))


def columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    """Rows as one list for each column, which is how a batch travels to PostgreSQL."""
    return [list(column) for column in zip(*rows, strict=True)]
