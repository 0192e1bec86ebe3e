"""The database broker on SQLite."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from ...dialect import SQLITE
from ...mirror import births, stamp_rows
from ...recording import Recording
from ...sql import Database, Row
from ...waker import Waker
from .queries import (
    DEFAULTS,
    DELIVERY,
    INSERTED,
    QUEUE,
    RECORDS,
    UNIQUE,
    WORKERS,
    Born,
    Queries,
    row,
    unique_row,
    with_dead_twice,
)
from .sqlite_wakeup import SQLiteWakeup
from .wakeup import Wakeup


class SQLite(Queries):
    """One writer at a time: statements are short, and batches travel as JSON or row by row in one transaction."""

    words = SQLITE
    is_here = True

    def __init__(self) -> None:
        super().__init__()
        columns = (*INSERTED, "life", "enqueued_at", *DEFAULTS)
        marks = ["?"] * len(INSERTED)
        self.insert = (
            f"INSERT INTO {QUEUE} ({', '.join(columns)}) VALUES ({', '.join(marks)}, "
            f"COALESCE((SELECT life + 1 FROM {RECORDS} WHERE message_id = ?), 0), {self.now}, "
            f"{', '.join(DEFAULTS.values())}) ON CONFLICT (message_id) DO NOTHING"
        )
        """Parameters: message_id, queue_name, place, priority, due_at, payload, record, and message_id again."""
        self.insert_unique = (
            f"INSERT INTO {QUEUE} ({', '.join((*columns, *UNIQUE))}) VALUES ({', '.join(marks)}, "
            f"COALESCE((SELECT life + 1 FROM {RECORDS} WHERE message_id = ?), 0), {self.now}, "
            f"{', '.join(DEFAULTS.values())}, ?, {self.now} + ?) ON CONFLICT DO NOTHING"
        )
        """The same with a key and its time to live."""
        self.insert_record = births.sqlite_insert(RECORDS)
        self._finish = (
            f"DELETE FROM {QUEUE} WHERE place = 2 AND owner = ? AND id IN ("
            f"SELECT q.id FROM json_each(?) AS s JOIN {QUEUE} AS q ON q.id = json_extract(s.value, '$[0]') "
            "WHERE q.deliveries = json_extract(s.value, '$[1]')) RETURNING id"
        )
        self._move = (
            f"UPDATE {QUEUE} SET place = ?, due_at = {self.now} + ?, retries = ?, lost = ?, dead_reason = ?, "
            f"died_at = CASE WHEN ? THEN {self.now} ELSE 0 END, unique_key = {self.gives_key_up}, "
            "payload = COALESCE(?, payload), owner = '', "
            "started_at = 0 WHERE place = 2 AND owner = ? AND id = ? AND deliveries = ?"
        )

    def store(self, database: Database, born: Sequence[Born], recording: Recording) -> int:
        return sum(self._store(database, self.insert, row(one), one, recording) for one in born)

    def store_unique(self, database: Database, born: Sequence[Born], recording: Recording) -> set[str]:
        return {
            one[0].message.message_id
            for one in born
            if self._store(database, self.insert_unique, unique_row(one), one, recording)
        }

    def _store(self, database: Database, insert: str, values: Row, born: Born, recording: Recording) -> int:
        item, event = born
        stored = database.count(insert, values)
        if stored and item.record:
            [(life,)] = database.rows(self.insert_record, births.sqlite_row(event, recording))
            if life:  # what its former life was stamped with is not its own
                stamp_rows.forget(database, [event.message_id])
        return stored

    def finish(self, database: Database, worker_id: str, claims: Sequence[tuple[int, int]]) -> set[int]:
        return {row[0] for row in database.rows(self._finish, (worker_id, json.dumps(claims)))}

    def move(self, database: Database, worker_id: str, rows: Sequence[Row]) -> set[int]:
        return {
            row[-2] for row in rows if database.count(self._move, (*with_dead_twice(row[:-2]), worker_id, *row[-2:]))
        }

    def take(
        self, database: Database, worker_id: str, shares: Sequence[tuple[str, int]], room: int, *, alone: bool
    ) -> list[Row]:
        flat = [part for share in shares for part in share]
        return database.rows(self._claim(len(shares)), (worker_id, *flat, room, worker_id))

    def take_suspects(self, database: Database, worker_id: str, room: int, *, alone: bool) -> list[Row]:
        return database.rows(self._claim_suspects, (worker_id, room, worker_id))

    def wakeup(self, database: Database, waker: Waker, has_news: Callable[[], bool]) -> Wakeup:
        return SQLiteWakeup(database, waker)

    def _claim(self, queues: int) -> str:
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
    def _claim_suspects(self) -> str:
        """Parameters: owner, limit, the worker id."""
        return self._take(f"SELECT id FROM {QUEUE} WHERE place = 4 ORDER BY priority, id LIMIT ?")

    def _take(self, lines: str) -> str:
        return (
            f"UPDATE {QUEUE} SET place = 2, owner = ?, deliveries = deliveries + 1 WHERE id IN ({lines}) "
            f"AND EXISTS (SELECT 1 FROM {WORKERS} WHERE worker_id = ?) RETURNING {DELIVERY}, priority"
        )
