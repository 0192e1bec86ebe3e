"""Leases in one of the project's databases: one row for each key."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ... import dialect
from ...errors import BrokerError
from ...models import RateLimitMutex
from ...sql import Database
from ..mutex import Holder, Mutex
from .compare_and_swap import Change, CompareAndSwapBackend, Step

TABLE = f'"{RateLimitMutex._meta.db_table}"'

_TRIES = 100
_LONGEST_PAUSE = 0.02


class DatabaseBackend(CompareAndSwapBackend):
    """Leases by the database's clock, seen by all hosts at once.

    Inside a transaction of the caller's, PostgreSQL is asked on a connection that is opened for it: an acquisition must
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
            return database.count(self._statements.forget, (idle, limit, idle))

    @contextmanager
    def _connected(self) -> Iterator[Database]:
        """The connection to use here and now; one that was opened for this is closed again."""
        if self._database.vendor != "postgresql" or not self._database.is_in_transaction:
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
    """What both vendors say alike. Times are epoch milliseconds; ``now`` is the database's."""

    now = ""
    mark = "%s"
    holders = "%s"
    moment = ""
    """A parameter in epoch milliseconds as a stored moment; the comparisons need the present one too."""
    present = ""

    def __init__(self) -> None:
        m = self.mark
        columns = 'm.version, m."limit", m.holders'
        self.select = f"SELECT n.now, {columns} FROM (SELECT {self.now} AS now) n LEFT JOIN {TABLE} m ON m.key = {m}"
        """One row, with nulls when the key is not known."""
        self.select_held = (
            f"SELECT {self.now}, m.key, {columns} FROM {TABLE} m WHERE m.expires_at > {self.present} ORDER BY m.key"
        )
        self.insert = (
            f'INSERT INTO {TABLE} (holders, "limit", expires_at, version, key, kind) '
            f"VALUES ({self.holders}, {m}, {self.moment}, {m}, {m}, 'concurrent') ON CONFLICT (key) DO NOTHING"
        )
        self.update = (
            f'UPDATE {TABLE} SET holders = {self.holders}, "limit" = {m}, expires_at = {self.moment}, version = {m} '
            f"WHERE key = {m} AND version = {m}"
        )
        idle = f"version < ({self.now} - {m}) * 1000"
        self.forget = (
            f"DELETE FROM {TABLE} WHERE key IN (SELECT key FROM {TABLE} WHERE {idle} "
            f"AND (expires_at IS NULL OR expires_at < {self.present}) LIMIT {m}) AND {idle}"
        )
        """Asks for the age again: a row that was used meanwhile stays. Parameters: the age, how many, the age."""


class SQLite(Statements):
    now = dialect.SQLITE.now_ms
    mark = dialect.SQLITE.mark
    holders = dialect.SQLITE.json
    moment = "strftime('%Y-%m-%d %H:%M:%f', ? / 1000.0, 'unixepoch')"
    present = dialect.SQLITE.now


class PostgreSQL(Statements):
    now = dialect.POSTGRESQL.now_ms
    holders = dialect.POSTGRESQL.json
    moment = "to_timestamp(%s::bigint / 1000.0)"
    present = dialect.POSTGRESQL.now


def _statements_for(vendor: str) -> Statements:
    known: dict[str, type[Statements]] = {"sqlite": SQLite, "postgresql": PostgreSQL}
    if vendor not in known:
        raise ValueError(f"DatabaseBackend does not know {vendor!r}; it runs on SQLite and PostgreSQL.")
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
