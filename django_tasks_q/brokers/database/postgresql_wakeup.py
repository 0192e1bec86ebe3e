"""Waiting for PostgreSQL."""

from __future__ import annotations

from typing import Any

from ...errors import BrokerConnectionError
from ...sql import Database
from ...waker import Waker
from .wakeup import Wakeup

CHANNEL = "django_tasks_q"
"""Where senders tell waiting workers that there is something to fetch."""


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
