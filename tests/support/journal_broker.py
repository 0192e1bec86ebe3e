"""A broker whose journal lives outside of its process, as bytes: what Redis and RabbitMQ will do, in small.

Messages are in memory, as the stub's are; events go to a file that other processes read, a partition for each queue.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.errors import DecodeError
from django_tasks_q.events import Event
from django_tasks_q.journal import Backlog, Gap, Journal, Stretch, decode, encode, without_arguments
from django_tasks_q.recording import is_recorded

PLENTY = 50_000_000

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY AUTOINCREMENT, partition TEXT, at INTEGER, data BLOB);
CREATE TABLE IF NOT EXISTS partitions (
    name TEXT PRIMARY KEY, bytes INTEGER DEFAULT 0, dropped INTEGER DEFAULT 0, since INTEGER, until INTEGER
);
"""


class FileJournal(Journal):
    """Events in a SQLite file of their own.

    Parameters:
        budget: bytes for each partition.
    """

    watch: Callable[[str], None] | None = None
    """Called before and after every step; tests stop the world there."""

    def __init__(self, path: Path, budget: int = PLENTY) -> None:
        self._path = path
        self._budget = budget
        with closing(self._connect()) as connection:
            connection.executescript(SCHEMA)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=20, isolation_level=None)

    @contextmanager
    def _transaction(self, name: str) -> Iterator[sqlite3.Connection]:
        self._tell(f"before {name}")
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # it must outlive processes, not the machine
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        self._tell(f"after {name}")

    def _tell(self, step: str) -> None:
        if self.watch is not None:
            self.watch(step)

    # Writing

    def append(self, partition: str, event: Event) -> None:
        with self._transaction("append") as connection:
            connection.execute("INSERT OR IGNORE INTO partitions (name) VALUES (?)", (partition,))
            used = self._used(connection, partition)
            data = encode(without_arguments(event) if used >= self._budget / 2 else event)
            self.insert(connection, partition, event.at, data)
            while self._used(connection, partition) > self._budget:
                self._drop_oldest(connection, partition)

    def append_bytes(self, partition: str, data: bytes) -> None:
        """Whatever somebody else may have written there."""
        with self._transaction("append") as connection:
            connection.execute("INSERT OR IGNORE INTO partitions (name) VALUES (?)", (partition,))
            self.insert(connection, partition, 0, data)

    def insert(self, connection: sqlite3.Connection, partition: str, at: int, data: bytes) -> None:
        connection.execute("INSERT INTO events (partition, at, data) VALUES (?, ?, ?)", (partition, at, data))
        connection.execute("UPDATE partitions SET bytes = bytes + ? WHERE name = ?", (len(data), partition))

    def _used(self, connection: sqlite3.Connection, partition: str) -> int:
        return int(connection.execute("SELECT bytes FROM partitions WHERE name = ?", (partition,)).fetchone()[0])

    def _drop_oldest(self, connection: sqlite3.Connection, partition: str) -> None:
        row = connection.execute("SELECT id, at FROM events WHERE partition = ? ORDER BY id LIMIT 1", (partition,))
        number, at = row.fetchone()
        self._note_gap(connection, partition, at)
        self._delete(connection, partition, number)

    def _note_gap(self, connection: sqlite3.Connection, partition: str, at: int) -> None:
        connection.execute(
            "UPDATE partitions SET dropped = dropped + 1, since = CASE WHEN dropped THEN since ELSE ?1 END, "
            "until = CASE WHEN dropped THEN MAX(until, ?1) ELSE ?1 END WHERE name = ?2",
            (at, partition),
        )

    def _delete(self, connection: sqlite3.Connection, partition: str, until: int) -> None:
        connection.execute("DELETE FROM events WHERE partition = ? AND id <= ?", (partition, until))
        connection.execute(
            "UPDATE partitions SET bytes = (SELECT COALESCE(SUM(LENGTH(data)), 0) FROM events WHERE partition = ?1) "
            "WHERE name = ?1",
            (partition,),
        )

    # Reading

    def partitions(self) -> list[str]:
        with closing(self._connect()) as connection:
            return [row[0] for row in connection.execute("SELECT name FROM partitions ORDER BY name")]

    def read(self, partition: str, limit: int) -> Stretch:
        with self._transaction("read") as connection:
            rows = connection.execute(
                "SELECT id, at, data FROM events WHERE partition = ? ORDER BY id LIMIT ?", (partition, limit)
            ).fetchall()
            events, end = [], 0
            for number, at, data in rows:
                try:
                    events.append(decode(data))
                except DecodeError:
                    if events:
                        break  # up to the next gap
                    self._note_gap(connection, partition, at)
                    self._delete(connection, partition, number)
                end = number
            return Stretch(events, end, self._gap(connection, partition))

    def _gap(self, connection: sqlite3.Connection, partition: str) -> Gap | None:
        query = "SELECT dropped, since, until FROM partitions WHERE name = ?"
        dropped, since, until = connection.execute(query, (partition,)).fetchone()
        return Gap(dropped, since, until, (partition,)) if dropped else None

    def trim(self, partition: str, stretch: Stretch) -> None:
        with self._transaction("trim") as connection:
            self._delete(connection, partition, stretch.end)

    def trim_gap(self, partition: str, gap: Gap) -> None:
        with self._transaction("trim gap") as connection:
            connection.execute(
                "UPDATE partitions SET dropped = MAX(0, dropped - ?), since = ? WHERE name = ?",
                (gap.dropped, gap.until, partition),
            )

    def backlog(self, partition: str) -> Backlog:
        with closing(self._connect()) as connection:
            query = "SELECT COUNT(*), MIN(at) FROM events WHERE partition = ?"
            number, oldest = connection.execute(query, (partition,)).fetchone()
            lag = max(0, round(time.time() * 1000) - oldest) if number else 0
            return Backlog(
                number, self._used(connection, partition) / self._budget, lag, self._gap(connection, partition)
            )


class JournalBroker(StubBroker):
    """Parameters: the journal's file, and its budget in bytes for each queue."""

    def __init__(self, path: Path, budget: int = PLENTY, **options: Any) -> None:
        super().__init__(**options)
        self._file = FileJournal(path, budget)
        self._queue_of: dict[str, str] = {}
        self.told: list[Event] = []
        """The truth: everything that happened, whatever the journal could keep."""

    @property
    def journal(self) -> FileJournal:  # type: ignore[override]
        return self._file

    def _note(self, event: Event) -> None:
        if not is_recorded(event):
            return
        if event.birth is not None:
            self._queue_of[event.message_id] = event.birth.queue_name
        self.told.append(event)
        self._file.append(self._queue_of[event.message_id], event)
