"""How a worker that waits learns that there may be work, by what its database offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ... import clock
from ...errors import BrokerConnectionError
from ...logging import get_logger
from ...sql import Database
from ...waker import Waker
from .queries import CHANNEL

logger = get_logger(__name__)

SQLITE_INTERVAL = 0.01
"""Seconds between two looks at ``PRAGMA data_version``; each costs some 20 microseconds and takes no lock."""


class Wakeup(ABC):
    """Waits for the database, for :meth:`Waker.wake`, or for the time to be up."""

    def __init__(self, database: Database, waker: Waker) -> None:
        self._database = database
        self.waker = waker

    @abstractmethod
    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds. True when the database says that something has changed."""

    def close(self) -> None:
        """Stop listening; the waker stays usable."""


class SQLiteWakeup(Wakeup):
    """``data_version`` changes when another connection commits: a look every few milliseconds, without any lock."""

    def __init__(self, database: Database, waker: Waker) -> None:
        super().__init__(database, waker)
        database.connection.ensure_connection()
        self._connection: Any = database.connection.connection
        self._version = self._look()

    def wait(self, timeout: float) -> bool:
        end = clock.monotonic() + timeout
        while True:
            version = self._look()
            if version != self._version:
                self._version = version
                return True
            left = end - clock.monotonic()
            if left <= 0 or self.waker.wait(min(SQLITE_INTERVAL, left)):
                return False

    def _look(self) -> int:
        """A hundred times a second in every idle worker, so it goes past all the wrapping."""
        try:
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except Exception as error:
            raise BrokerConnectionError(f"Database {self._database.alias!r}: {error}") from error
        return version


class PostgreSQLWakeup(Wakeup):
    """LISTEN on the I/O thread's own connection. Where that does not work (a pooler), polling goes on beneath."""

    def __init__(self, database: Database, waker: Waker) -> None:
        super().__init__(database, waker)
        self._database.count(f"LISTEN {CHANNEL}")
        self._connection: Any = self._database.connection.connection
        self._heard = False
        self._connection.add_notify_handler(self._hear)
        self._descriptor: int | None = self._connection.fileno()
        waker.watch(self._connection.fileno())

    def wait(self, timeout: float) -> bool:
        if not self._heard:
            self.waker.wait(timeout)
            self._consume()
        heard, self._heard = self._heard, False
        return heard

    def _hear(self, notification: Any) -> None:
        """Also called while a statement runs, which is why the news is kept until somebody waits."""
        self._heard = True

    def _consume(self) -> None:
        """Take in what the server sent while nothing was asked of it."""
        pgconn = self._connection.pgconn
        try:
            pgconn.consume_input()
            while pgconn.notifies() is not None:
                self._heard = True
        except Exception as error:
            raise BrokerConnectionError(f"Database {self._database.alias!r}: {str(error).strip()}") from error

    def close(self) -> None:
        if self._descriptor is not None:
            self.waker.unwatch(self._descriptor)
            self._descriptor = None


def make_wakeup(database: Database, waker: Waker | None = None) -> Wakeup:
    """The way to wait that the database offers."""
    waker = waker or Waker()
    return PostgreSQLWakeup(database, waker) if database.vendor == "postgresql" else SQLiteWakeup(database, waker)
