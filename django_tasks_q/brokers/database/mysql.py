"""The database broker on MySQL and MariaDB.

Contract: no statement needs RETURNING, so whoever changes rows and has to tell which locks them first. Locks are of
single rows, by READ COMMITTED, which is Django's default: REPEATABLE READ would lock the gaps between them as well.
Statements that lock say by which index. A server that takes the table for as small as it was a minute ago reads all
of it instead, and waits for rows that are none of the statement's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db import IntegrityError

from ...dialect import MYSQL, Change, ChangeInSteps, by_keys, chunks, keys
from ...mirror import births, stamp_rows
from ...recording import Recording
from ...sql import Database, Row
from ...waker import Waker
from .polling_wakeup import PollingWakeup
from .queries import (
    DEFAULTS,
    DELIVERY,
    INSERTED,
    MOVED,
    QUEUE,
    RECORDS,
    UNIQUE,
    WORKERS,
    Born,
    Queries,
    firsts,
    row,
    unique_row,
    with_dead_twice,
)
from .wakeup import Wakeup

_CLAIMED = DELIVERY.replace("deliveries", "deliveries + 1")


class MySQL(Queries):
    """Claimers step over each other's locks; a batch is one statement with a list of ids."""

    words = MYSQL
    # With another condition beside the id the server may come by the index of that, which locks the entry first that
    # whoever deletes the row locks last.
    by_id = f"{QUEUE} FORCE INDEX (PRIMARY)"
    delete_by_id = f"DELETE {QUEUE} FROM {QUEUE} FORCE INDEX (PRIMARY)"
    kept_key = "CONCAT(unique_key, '/', id)"

    def __init__(self) -> None:
        super().__init__()
        self._lock_lease = f"SELECT 1 FROM {WORKERS} WHERE worker_id = %s LOCK IN SHARE MODE"
        self._claim = f"UPDATE {by_keys(QUEUE)} SET place = 2, owner = %s, deliveries = deliveries + 1"
        self._suspects = (
            f"SELECT {_CLAIMED}, priority FROM {QUEUE} FORCE INDEX (dtq_queue_suspect) WHERE place = 4 "
            f"ORDER BY priority, id LIMIT %s{self.words.skip_locked}"
        )
        self._lock_own = (
            f"SELECT id, deliveries FROM {QUEUE} FORCE INDEX (PRIMARY) "
            f"WHERE id IN %s AND place = 2 AND owner = %s{self.words.lock}"
        )
        self._delete = f"DELETE {QUEUE} FROM {by_keys(QUEUE)}"
        self._move = (
            f"UPDATE {self.by_id} SET place = %s, due_at = {self.now} + %s, retries = %s, lost = %s, dead_reason = %s, "
            f"died_at = CASE WHEN %s THEN {self.now} ELSE 0 END, unique_key = {self.gives_key_up}, "
            "payload = COALESCE(UNHEX(%s), payload), owner = '', started_at = 0 "
            "WHERE id = %s AND deliveries = %s AND place = 2 AND owner = %s"
        )

    def store(self, database: Database, born: Sequence[Born], recording: Recording) -> int:
        return len(self._store(database, born, recording))

    def store_unique(self, database: Database, born: Sequence[Born], recording: Recording) -> set[str]:
        # Whoever sends the same keys waits at the first of them, and no two wait for each other.
        ordered = sorted(firsts(born), key=lambda one: unique_row(one)[-2])
        new = self._store(database, ordered, recording, unique=True)
        return {item.message.message_id for item, _ in new}

    def _store(
        self, database: Database, born: Sequence[Born], recording: Recording, *, unique: bool = False
    ) -> list[Born]:
        """Those that were new."""
        stored: list[Born] = []
        for chunk in chunks(born, lambda one: len(one[0].payload)):
            new = self._insert(database, chunk, unique)
            recorded = [event for item, event in new if item.record]
            if recorded:
                sql = births.mysql_insert(RECORDS, len(recorded))
                rows = [value for event in recorded for value in births.mysql_row(event, recording)]
                if database.count(sql, rows) > len(recorded):  # a row that is there counts twice: an id is used again
                    stamp_rows.forget(database, [event.message_id for event in recorded])
            stored += new
        return stored

    def _insert(self, database: Database, born: Sequence[Born], unique: bool) -> Sequence[Born]:
        """Those that were new."""
        columns = ", ".join((*INSERTED, "life", "enqueued_at", *DEFAULTS, *(UNIQUE if unique else ())))
        marks = ", ".join(self.words.binary if name == "payload" else "%s" for name in INSERTED)
        life = f"COALESCE((SELECT life + 1 FROM {RECORDS} WHERE message_id = %s), 0)"
        key = f", %s, {self.now} + %s" if unique else ""
        values = f"({marks}, {life}, {self.now}, {', '.join(DEFAULTS.values())}{key})"
        sql = f"INSERT INTO {QUEUE} ({columns}) VALUES {', '.join([values] * len(born))}"
        try:
            database.count(sql, [value for one in born for value in (unique_row if unique else row)(one)])
        except IntegrityError:
            # One of them is known, and the statement as a whole has not happened.
            return [] if len(born) == 1 else [one for each in born for one in self._insert(database, [each], unique)]
        return born

    def finish(self, database: Database, worker_id: str, claims: Sequence[tuple[int, int]]) -> set[int]:
        locked = database.rows(self._lock_own, (tuple(handle for handle, _ in claims), worker_id))
        done = {row[0] for row in set(locked).intersection(claims)}
        if done:
            database.count(self._delete, (keys(sorted(done)),))
        return done

    def move(self, database: Database, worker_id: str, rows: Sequence[Row]) -> set[int]:
        return {row[-2] for row in rows if database.count(self._move, (*_with_hex(row), worker_id))}

    def take(
        self, database: Database, worker_id: str, shares: Sequence[tuple[str, int]], room: int, *, alone: bool
    ) -> list[Row]:
        flat = [part for share in shares for part in share]
        return self._take(database, worker_id, self._ready(len(shares)), flat, room, alone)

    def take_suspects(self, database: Database, worker_id: str, room: int, *, alone: bool) -> list[Row]:
        return self._take(database, worker_id, self._suspects, [room], room, alone)

    def _take(
        self, database: Database, worker_id: str, look: str, params: Sequence[Any], room: int, alone: bool
    ) -> list[Row]:
        if alone:
            with database.transaction():
                return self._claim_rows(database, worker_id, look, params, room)
        return self._claim_rows(database, worker_id, look, params, room)

    def _claim_rows(self, database: Database, worker_id: str, look: str, params: Sequence[Any], room: int) -> list[Row]:
        # Locking the lease makes a burial wait until this claim is visible to it, and the other way round.
        if not database.rows(self._lock_lease, (worker_id,)):
            return []
        rows = database.rows(look, params)[:room]
        if rows:
            database.count(self._claim, (keys([row[0] for row in rows]), worker_id))
        return rows

    def _ready(self, queues: int) -> str:
        """Parameters: queue name and quota for each queue."""
        one = (
            f"SELECT {_CLAIMED}, priority FROM {QUEUE} FORCE INDEX (dtq_queue_ready) "
            f"WHERE place = 0 AND queue_name = %s ORDER BY priority, id LIMIT %s{self.words.skip_locked}"
        )
        return one if queues == 1 else " UNION ALL ".join([f"({one})"] * queues)

    def wakeup(self, database: Database, waker: Waker, has_news: Callable[[], bool]) -> Wakeup:
        return PollingWakeup(database, waker, has_news)

    def _change(self, change: str, where: str, others: str = "", told: str = MOVED, told_before: str = MOVED) -> Change:
        lock = self.words.skip_locked if others else self.words.lock
        verb = change.replace(f"DELETE FROM {QUEUE}", f"DELETE {QUEUE} FROM {by_keys(QUEUE)}")
        verb = verb.replace(f"UPDATE {QUEUE}", f"UPDATE {by_keys(QUEUE)}")
        return ChangeInSteps(f"SELECT id, {told_before} FROM {QUEUE} WHERE {where}{lock}", verb)


def _with_hex(row: Row) -> Row:
    """A payload as hexadecimal digits: as it is the driver would take it for text."""
    payload = row[-3]
    return (*with_dead_twice(row[:-3]), None if payload is None else payload.hex(), *row[-2:])
