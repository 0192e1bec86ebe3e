"""Results in one of the project's databases."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from ... import clock
from ...deliveries import Result
from ...dialect import VENDORS, dialect
from ...encoder import Encoder
from ...sql import Database, SeparateConnection
from ..backend import ResultBackend
from .rows import ResultRows

SHORTEST = 0.002
LONGEST = 0.05
"""Seconds between two looks for a result that is not there: few at first, more the longer it takes."""


class DatabaseBackend(ResultBackend):
    """One row for each result. Where this is the database broker's own database, a result is there when its message
    is done and not before: both are one transaction.

    Who waits looks again and again, fifty times a second in the end. Within a transaction of the caller's, which may
    never see what others commit, he does so on a connection that is opened for it.

    Parameters:
        using: the alias in ``DATABASES``; ValueError when there is none, or its vendor is not known.
    """

    def __init__(
        self,
        *,
        using: str = DEFAULT_DB_ALIAS,
        namespace: str = "dtq-results",
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(namespace=namespace, encoder=encoder)
        if using not in connections.settings:
            raise ValueError(f"DATABASES has no {using!r}, only: {', '.join(sorted(connections.settings))}.")
        self.using = using
        self._database = Database(using)
        if self._database.vendor not in VENDORS:
            raise ValueError(f"DatabaseBackend does not know {self._database.vendor!r}, only: {', '.join(VENDORS)}.")
        self._rows = ResultRows(self._database)

    @property
    def address(self) -> str:
        return f"database://{self.using}"

    def store(self, results: Sequence[Result], *, replace: bool = True) -> None:
        with self._transaction():
            self._rows.store(results, replace=replace)

    def load(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        return self._rows.load(keys)

    def wait(self, key: str, timeout: float) -> bytes | None:
        until = clock.monotonic() + timeout
        found = self._rows.load([key]).get(key)
        if found is not None or timeout <= 0:
            return found
        with self._onlooker() as rows:
            pause = SHORTEST
            while found is None and (left := until - clock.monotonic()) > 0:
                time.sleep(min(pause, left))
                pause = min(LONGEST, pause * 1.5)
                found = rows.load([key]).get(key)
        return found

    def remove(self, keys: Sequence[str]) -> None:
        self._rows.remove(keys)

    def prune(self, limit: int) -> int:
        with self._transaction():
            return self._rows.prune(min(limit, dialect(self._database).batch))

    def release_thread(self) -> None:
        self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """The caller's, which an error leaves usable, or one of its own."""
        if self._database.is_in_transaction:
            with self._database.atomic(savepoint=True):
                yield
        else:
            with self._database.transaction():
                yield

    @contextmanager
    def _onlooker(self) -> Iterator[ResultRows]:
        """Where others' commits are seen. A database in memory is seen by its own connection only."""
        database: Any = self._database
        is_private = database.vendor == "sqlite" and database.connection.is_in_memory_db()
        if is_private or not database.is_in_transaction:
            yield self._rows
            return
        separate = SeparateConnection(self.using)
        try:
            separate.own()
            yield ResultRows(separate)
        finally:
            separate.close()


def from_url(url: str, namespace: str) -> DatabaseBackend:
    """The backend of a ``database://alias`` URL; the alias is a key of ``DATABASES``."""
    try:
        return DatabaseBackend(using=urlsplit(url).netloc or DEFAULT_DB_ALIAS, namespace=namespace)
    except ValueError as error:
        raise ImproperlyConfigured(f"RESULTS_URL: {error}") from error
