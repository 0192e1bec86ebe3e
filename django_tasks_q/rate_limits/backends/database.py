"""Leases in one of the project's databases: one row for each key."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ... import dialect
from ...dialect import Dialect
from ...errors import BrokerError
from ...models import RateLimitMutex
from ...sql import Database
from ..mutex import Holder, Mutex
from .compare_and_swap import Change, CompareAndSwapBackend, Step

TABLE = RateLimitMutex._meta.db_table

_TRIES = 100
_LONGEST_PAUSE = 0.02


class DatabaseBackend(CompareAndSwapBackend):
    """Leases by the database's clock, seen by all hosts at once.

    Inside a transaction of the caller's, the server is asked on a connection that is opened for it: an acquisition must
    be seen at once and outlive a rollback. SQLite has one writer, so there it is part of the caller's transaction:
    nobody else can acquire before that ends, and a rollback takes back what was acquired or released within.

    Parameters:
        using: the alias in ``DATABASES``; ValueError when there is none, or its vendor is not known.
    """

    def __init__(self, *, using: str = DEFAULT_DB_ALIAS) -> None:
        if using not in connections.settings:
            raise ValueError(f"DATABASES has no {using!r}, only: {', '.join(sorted(connections.settings))}.")
        super().__init__()
        self.using = using
        self._database = Database(using)
        self._statements = _statements_for(self._database.vendor)

    @property
    def address(self) -> str:
        return f"database://{self.using}"

    def own_thread(self) -> None:
        self._database.own()

    def _change(self, key: str, step: Step) -> Change:
        with self._connected() as database:
            for attempt in range(_TRIES):
                before, now = self._select(database, key)
                after = step(before, now)
                if after is None or self._swap(database, key, before, after):
                    return Change(before, after, now)
                time.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.001 * 2**attempt)))
        raise BrokerError(f"So many change {key!r} at once that {_TRIES} attempts were not enough.")

    def _swap(self, database: Database, key: str, before: Mutex, after: Mutex) -> bool:
        fields = (msgspec.json.encode(after.holders).decode(), after.limit, after.expires_at, after.version, key)
        if before.version:
            return database.count(self._statements.update, (*fields, before.version)) == 1
        return database.count(self._statements.insert, fields) == 1

    def _read(self, key: str) -> tuple[Mutex, int]:
        with self._connected() as database:
            return self._select(database, key)

    def _select(self, database: Database, key: str) -> tuple[Mutex, int]:
        [(now, *row)] = database.rows(self._statements.select, (key,))
        return _mutex(row), now

    def _read_held(self) -> tuple[list[tuple[str, Mutex]], int]:
        with self._connected() as database:
            rows = database.rows(self._statements.select_held)
        return [(key, _mutex(row)) for _, key, *row in rows], rows[0][0] if rows else 0

    def forget_idle(self, idle: int, limit: int = 1_000) -> int:
        with self._connected() as database:
            return database.count(*self._statements.forget(idle, limit))

    @contextmanager
    def _connected(self) -> Iterator[Database]:
        """The connection to use here and now; one that was opened for this is closed again."""
        if self._database.vendor == "sqlite" or not self._database.is_in_transaction:
            yield self._database
            return
        separate = SeparateConnection(self.using)
        try:
            separate.own()
            yield separate
        finally:
            separate.close()


class SeparateConnection(Database):
    """A connection beside the thread's own, until it is closed."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self._connection = connections.create_connection(alias)

    @property
    def connection(self) -> BaseDatabaseWrapper:
        return self._connection


class Statements:
    """What all vendors say alike. Times are epoch milliseconds."""

    words: ClassVar[Dialect]
    moment: ClassVar[str]
    """A parameter in epoch milliseconds as a stored moment."""

    def __init__(self) -> None:
        words = self.words
        m, now, key, limit = words.mark, words.now_ms, words.name("key"), words.name("limit")
        columns = f"m.version, m.{limit}, m.holders"
        self.select = (
            f"SELECT n.now_ms, {columns} FROM (SELECT {now} AS now_ms) AS n LEFT JOIN {TABLE} AS m ON m.{key} = {m}"
        )
        """One row, with nulls when the key is not known."""
        self.select_held = (
            f"SELECT {now}, m.{key}, {columns} FROM {TABLE} AS m WHERE m.expires_at > {words.now} ORDER BY m.{key}"
        )
        self.insert = (
            f"{words.insert_new} {TABLE} (holders, {limit}, expires_at, version, {key}, kind) "
            f"VALUES ({words.json}, {m}, {self.moment}, {m}, {m}, 'concurrent'){words.if_new}"
        )
        self.update = (
            f"UPDATE {TABLE} SET holders = {words.json}, {limit} = {m}, expires_at = {self.moment}, version = {m} "
            f"WHERE {key} = {m} AND version = {m}"
        )
        self._is_idle = f"version < ({now} - {m}) * 1000"
        self._is_old = f"{self._is_idle} AND (expires_at IS NULL OR expires_at < {words.now})"

    def forget(self, idle: int, limit: int) -> tuple[str, tuple[int, ...]]:
        """A statement and its parameters: it deletes up to ``limit`` rows that nothing has changed for ``idle``."""
        key, m = self.words.name("key"), self.words.mark
        chosen = f"SELECT {key} FROM {TABLE} WHERE {self._is_old} LIMIT {m}"
        # Asks for the age again: a row that was used meanwhile stays.
        return f"DELETE FROM {TABLE} WHERE {key} IN ({chosen}) AND {self._is_idle}", (idle, limit, idle)


class SQLite(Statements):
    words = dialect.SQLITE
    moment = "strftime('%Y-%m-%d %H:%M:%f', ? / 1000.0, 'unixepoch')"


class PostgreSQL(Statements):
    words = dialect.POSTGRESQL
    moment = "to_timestamp(%s::bigint / 1000.0)"


class MySQL(Statements):
    words = dialect.MYSQL
    moment = "TIMESTAMPADD(MICROSECOND, %s * 1000, TIMESTAMP'1970-01-01 00:00:00')"

    def forget(self, idle: int, limit: int) -> tuple[str, tuple[int, ...]]:
        return f"DELETE FROM {TABLE} WHERE {self._is_old} LIMIT %s", (idle, limit)


def _statements_for(vendor: str) -> Statements:
    known: dict[str, type[Statements]] = {"sqlite": SQLite, "postgresql": PostgreSQL, "mysql": MySQL}
    if vendor not in known:
        raise ValueError(f"DatabaseBackend does not know {vendor!r}; it runs on SQLite, PostgreSQL, MySQL and MariaDB.")
    return known[vendor]()


def _mutex(row: Sequence[Any]) -> Mutex:
    version, limit, holders = row
    if version is None:
        return Mutex()
    return Mutex(version, limit, msgspec.json.decode(holders, type=tuple[Holder, ...]))


def from_url(url: str) -> DatabaseBackend:
    """The backend of a ``database://alias`` URL; the alias is a key of ``DATABASES``."""
    try:
        return DatabaseBackend(using=urlsplit(url).netloc or DEFAULT_DB_ALIAS)
    except ValueError as error:
        raise ImproperlyConfigured(f"RATE_LIMITS_URL: {error}") from error
