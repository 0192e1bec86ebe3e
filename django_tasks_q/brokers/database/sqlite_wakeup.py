"""Waiting for SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ... import clock
from ...errors import BrokerConnectionError
from ...sql import Database
from ...waker import Waker
from .file_changes import FileChanges
from .wakeup import Wakeup

INTERVAL = 0.01
"""Seconds between two looks where nothing tells of writes. A look costs some 20 microseconds and takes no lock."""

NET = 0.1
"""Seconds between two looks that are made even if no write was heard of: a file may have been replaced."""

SPACING = 0.005
"""Seconds that at least lie between two reports of a change, so that a busy website does not keep idle workers busy."""

_AFTER_A_WRITE = (0.0003, 0.0006, 0.0012, 0.0025, 0.005, 0.01, 0.02)
"""Seconds between the looks that follow a write: it is heard of before its transaction is committed."""


class SQLiteWakeup(Wakeup):
    """``PRAGMA data_version`` changes when another connection commits; a write to the files says when to look."""

    def __init__(self, database: Database, waker: Waker) -> None:
        super().__init__(database, waker)
        database.connection.ensure_connection()
        self._connection: Any = database.connection.connection
        self._version = self._look()
        self._reported = 0.0
        self._changes = FileChanges.open()
        if self._changes is not None:
            self._listen(self._changes)

    def _listen(self, changes: FileChanges) -> None:
        path = next(row[2] for row in self._connection.execute("PRAGMA database_list") if row[1] == "main")
        if path and changes.watch([path, f"{path}-wal"]):
            self.waker.watch(changes.fileno())
        else:
            changes.close()
            self._changes = None

    def wait(self, timeout: float) -> bool:
        now = clock.monotonic()
        end = now + timeout
        if self._waits_out_the_spacing(now, end):
            return False
        pauses = self._pauses()
        while True:
            version = self._look()
            if version != self._version:
                self._version, self._reported = version, clock.monotonic()
                return True
            left = end - clock.monotonic()
            if left <= 0 or self.waker.wait(min(next(pauses), left)):
                return False
            if self._changes is not None and self._changes.heard():
                pauses = self._pauses(*_AFTER_A_WRITE)

    def _waits_out_the_spacing(self, now: float, end: float) -> bool:
        """True when somebody woke us meanwhile. Writes are not listened to: each of them would end the pause."""
        pause = min(self._reported + SPACING, end) - now
        if pause <= 0:
            return False
        return self.waker.sleep(pause)

    def _pauses(self, *first: float) -> Iterator[float]:
        yield from first
        while True:
            yield INTERVAL if self._changes is None else NET

    def _look(self) -> int:
        """Every few milliseconds in every idle worker, so it goes past all the wrapping."""
        try:
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except Exception as error:
            raise BrokerConnectionError(f"Database {self._database.alias!r}: {error}") from error
        return version

    def close(self) -> None:
        if self._changes is not None:
            self.waker.unwatch(self._changes.fileno())
            self._changes.close()
            self._changes = None
