"""Leases in one of the project's databases: one row for each key."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from ... import dialect
from ...dialect import Dialect
from ...errors import BrokerError
from ...models import RateLimitAdmissions, RateLimitArrival, RateLimitGathering, RateLimitMutex
from ...sql import Database, SeparateConnection, SharedConnections
from ..admissions import Admissions, Span
from ..backend import RateLimiterBackend
from ..gathering import Arrival, Gathering, unexpected
from ..mutex import Holder, Mutex
from .compare_and_swap import Change, CompareAndSwapBackend, Step

TABLE = RateLimitMutex._meta.db_table
ADMISSIONS = RateLimitAdmissions._meta.db_table
GATHERINGS = RateLimitGathering._meta.db_table
ARRIVALS = RateLimitArrival._meta.db_table

Found = TypeVar("Found")

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

    def apart(self) -> RateLimiterBackend:
        """On connections of its own; not on SQLite, where that of a caller's transaction has to be used."""
        return self if self._database.vendor == "sqlite" else self._apart

    @cached_property
    def _apart(self) -> ApartDatabaseBackend:
        return ApartDatabaseBackend(using=self.using)

    def close(self) -> None:
        if "_apart" in vars(self):
            self._apart.close()

    def _change(self, key: str, step: Step) -> Change:
        with self._connected() as database:
            for attempt in range(_TRIES):
                before, now = self._select(database, key)
                after = step(before, now)
                if after is None or self._swap(database, key, before, after):
                    return Change(before, after, now)
                _rest(attempt)
        raise _too_many(key)

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

    def admit(self, key: str, limit: int, span: Span, *, queues: bool = False) -> int:
        with self._connected() as database:
            for attempt in range(_TRIES):
                [(now, slots, version)] = database.rows(self._statements.admissions, (key,))
                before = Admissions() if slots is None else msgspec.json.decode(slots, type=Admissions)
                after, wait = before.admit(now, limit, span, queues)
                if after is before or self._swap_admissions(database, key, version, after, span, now):
                    return wait
                _rest(attempt)
        raise _too_many(key)

    def _swap_admissions(
        self, database: Database, key: str, version: int | None, after: Admissions, span: Span, now: int
    ) -> bool:
        fields = (msgspec.json.encode(after).decode(), max(now, after.turn) + span.kept)
        if version is None:
            return database.count(self._statements.insert_admissions, (*fields, now * 1000, key)) == 1
        return database.count(self._statements.update_admissions, (*fields, version + 1, key, version)) == 1

    def expect(self, key: str, parties: int, ttl: int) -> bool:
        def begin(database: Database, before: Gathering | None) -> bool:
            if before is None:
                self._write(database, key, Gathering(parties), ttl)
            return before is None

        return self._with_gathering(key, begin)

    def gathered(self, key: str) -> Arrival | None:
        with self._connected() as database:
            found = database.rows(self._statements.see_gathering, (key,))
        gathering = _gathering(found[0]) if found else None
        return None if gathering is None else gathering.as_seen_by("")

    def arrive(self, key: str, member: str, ok: bool, parties: int, ttl: int) -> Arrival:
        def join(database: Database, before: Gathering | None) -> Arrival:
            if before is None and not parties:
                raise unexpected(key)
            was_ok = self._note_arrival(database, key, member, ok)
            after = (before or Gathering(parties)).joined_by(member, was_ok, ok, parties)
            self._write(database, key, after, ttl)
            return after.as_seen_by(member)

        return self._with_gathering(key, join)

    def arrived(self, key: str) -> list[str]:
        with self._connected() as database:
            return [member for (member,) in database.rows(self._statements.see_arrivals, (key,))]

    def _with_gathering(self, key: str, change: Callable[[Database, Gathering | None], Found]) -> Found:
        """Change a gathering whose row is locked meanwhile; None is given when nothing is known, or it is over."""
        while True:
            with self._transaction() as database:
                found = database.rows(self._statements.lock_gathering, (key,))
                if found:
                    before = _gathering(found[0])
                    if before is None:
                        database.count(self._statements.forget_arrivals, (key,))
                    return change(database, before)
            # Apart: who looked in vain and inserts within one transaction waits for others who did the same.
            with self._connected() as database:
                database.count(self._statements.begin_gathering, (key,))

    def _note_arrival(self, database: Database, key: str, member: str, ok: bool) -> bool | None:
        """Whether the member was ok when it came before; None when it did not."""
        if database.count(self._statements.add_arrival, (key, member, ok)) == 1:
            return None
        return not (ok and database.count(self._statements.mend_arrival, (key, member)) == 1)

    def _write(self, database: Database, key: str, after: Gathering, ttl: int) -> None:
        fields = (after.parties, after.arrived, after.failed, after.completer, ttl, key)
        database.count(self._statements.update_gathering, fields)

    def forget_idle(self, idle: int, limit: int = 1_000) -> int:
        with self._connected() as database:
            admissions = database.count(*self._statements.forget_admissions(limit))
            past = database.rows(self._statements.past_gatherings, (limit,))
        for (key,) in past:
            self._forget_gathering(key)
        with self._connected() as database:
            mutexes = database.count(*self._statements.forget(idle, limit))
        return limit if limit in (admissions, len(past)) else mutexes

    def _forget_gathering(self, key: str) -> None:
        """Together: who begins it anew meanwhile waits, and keeps his arrivals."""
        with self._transaction() as database:
            if database.count(self._statements.forget_gathering, (key,)):
                database.count(self._statements.forget_arrivals, (key,))

    @contextmanager
    def _transaction(self) -> Iterator[Database]:
        """A transaction of the backend's own; within the caller's on SQLite, which has no other writer."""
        with self._connected() as database:
            if database.is_in_transaction:
                yield database
                return
            with database.transaction():
                yield database

    def _connected(self) -> AbstractContextManager[Database]:
        """The connection to use here and now; one that was opened for this is closed again."""
        return self._connected_here()

    @contextmanager
    def _connected_here(self) -> Iterator[Database]:
        if self._database.vendor == "sqlite" or not self._database.is_in_transaction:
            yield self._database
            return
        separate = SeparateConnection(self.using)
        try:
            separate.own()
            yield separate
        finally:
            separate.close()


class ApartDatabaseBackend(DatabaseBackend):
    """The same leases, on a few connections that threads share. What is acquired is seen at once, and stays."""

    is_known = False

    def __init__(self, *, using: str) -> None:
        super().__init__(using=using)
        self._shared = SharedConnections(using)

    def _connected(self) -> AbstractContextManager[Database]:
        return self._shared.one()

    def apart(self) -> RateLimiterBackend:
        return self

    def close(self) -> None:
        self._shared.close()


class Statements:
    """What all vendors say alike. Times are epoch milliseconds."""

    words: ClassVar[Dialect]
    moment: ClassVar[str]
    """A parameter in epoch milliseconds as a stored moment."""

    def __init__(self) -> None:
        self._say_leases()
        self._say_admissions()
        self._say_gatherings()

    def _say_leases(self) -> None:
        words = self.words
        m, now, key, limit = words.mark, words.now_ms, words.name("key"), words.name("limit")
        columns = f"m.version, m.{limit}, m.holders"
        self.select = (
            f"SELECT n.now_ms, {columns} FROM (SELECT {now} AS now_ms) AS n LEFT JOIN {TABLE} AS m ON m.{key} = {m}"
        )
        """One row, with nulls when the key is not known."""
        self.select_held = (
            f"SELECT {now}, m.{key}, {columns} FROM {TABLE} AS m "
            f"WHERE m.expires_at > {words.now} AND m.version >= 0 ORDER BY m.{key}"
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

    def _say_admissions(self) -> None:
        words = self.words
        m, now, key = words.mark, words.now_ms, words.name("key")
        self.admissions = (
            f"SELECT n.now_ms, a.slots, a.version FROM (SELECT {now} AS now_ms) AS n "
            f"LEFT JOIN {ADMISSIONS} AS a ON a.{key} = {m}"
        )
        """One row, with nulls when the key is not known."""
        self.insert_admissions = (
            f"{words.insert_new} {ADMISSIONS} (slots, expires_at, version, {key}) VALUES ({m}, {m}, {m}, {m})"
            f"{words.if_new}"
        )
        self.update_admissions = (
            f"UPDATE {ADMISSIONS} SET slots = {m}, expires_at = {m}, version = {m} WHERE {key} = {m} AND version = {m}"
        )
        self._past_admissions = f"{ADMISSIONS} WHERE expires_at <= {now}"

    def _say_gatherings(self) -> None:
        words = self.words
        m, now, key = words.mark, words.now_ms, words.name("key")
        self.see_gathering = (
            f"SELECT parties, arrived, failed, completer, expires_at > {now} FROM {GATHERINGS} WHERE {key} = {m}"
        )
        self.lock_gathering = self.see_gathering + words.lock
        self.begin_gathering = (
            f"{words.insert_new} {GATHERINGS} ({key}, parties, arrived, failed, completer, expires_at) "
            f"VALUES ({m}, 0, 0, 0, '', 0){words.if_new}"
        )
        self.update_gathering = (
            f"UPDATE {GATHERINGS} SET parties = {m}, arrived = {m}, failed = {m}, completer = {m}, "
            f"expires_at = {now} + {m} WHERE {key} = {m}"
        )
        self.past_gatherings = f"SELECT {key} FROM {GATHERINGS} WHERE expires_at <= {now} LIMIT {m}"
        self.forget_gathering = f"DELETE FROM {GATHERINGS} WHERE {key} = {m} AND expires_at <= {now}"
        self.add_arrival = f"{words.insert_new} {ARRIVALS} (gathering, member, ok) VALUES ({m}, {m}, {m}){words.if_new}"
        self.mend_arrival = f"UPDATE {ARRIVALS} SET ok = TRUE WHERE gathering = {m} AND member = {m} AND NOT ok"
        self.see_arrivals = f"SELECT member FROM {ARRIVALS} WHERE gathering = {m}"
        self.forget_arrivals = f"DELETE FROM {ARRIVALS} WHERE gathering = {m}"

    def forget(self, idle: int, limit: int) -> tuple[str, tuple[int, ...]]:
        """A statement and its parameters: it deletes up to ``limit`` rows that nothing has changed for ``idle``."""
        key, m = self.words.name("key"), self.words.mark
        chosen = f"SELECT {key} FROM {TABLE} WHERE {self._is_old} LIMIT {m}"
        # Asks for the age again: a row that was used meanwhile stays.
        return f"DELETE FROM {TABLE} WHERE {key} IN ({chosen}) AND {self._is_idle}", (idle, limit, idle)

    def forget_admissions(self, limit: int) -> tuple[str, tuple[int, ...]]:
        """The same for admissions of which none counts any more."""
        key = self.words.name("key")
        chosen = f"SELECT {key} FROM {self._past_admissions} LIMIT {self.words.mark}"
        return f"DELETE FROM {self._past_admissions} AND {key} IN ({chosen})", (limit,)


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

    def forget_admissions(self, limit: int) -> tuple[str, tuple[int, ...]]:
        return f"DELETE FROM {self._past_admissions} LIMIT %s", (limit,)


def _statements_for(vendor: str) -> Statements:
    known: dict[str, type[Statements]] = {"sqlite": SQLite, "postgresql": PostgreSQL, "mysql": MySQL}
    if vendor not in known:
        raise ValueError(f"DatabaseBackend does not know {vendor!r}; it runs on SQLite, PostgreSQL, MySQL and MariaDB.")
    return known[vendor]()


def _rest(attempt: int) -> None:
    """Before somebody who was in somebody's way tries again."""
    time.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.001 * 2**attempt)))


def _too_many(key: str) -> BrokerError:
    return BrokerError(f"So many change {key!r} at once that {_TRIES} attempts were not enough.")


def _gathering(row: Sequence[Any]) -> Gathering | None:
    """What stands; None when it is over."""
    parties, arrived, failed, completer, is_kept = row
    return Gathering(parties, arrived, failed, completer) if is_kept else None


def _mutex(row: Sequence[Any]) -> Mutex:
    version, limit, holders = row
    if version is None:
        return Mutex()
    if version < 0:  # shows what is held in another store, and is taken over by whoever acquires the key here
        return Mutex(version)
    return Mutex(version, limit, msgspec.json.decode(holders, type=tuple[Holder, ...]))


def from_url(url: str, namespace: str) -> DatabaseBackend:
    """The backend of a ``database://alias`` URL; the alias is a key of ``DATABASES``."""
    try:
        return DatabaseBackend(using=urlsplit(url).netloc or DEFAULT_DB_ALIAS)
    except ValueError as error:
        raise ImproperlyConfigured(f"RATE_LIMITS_URL: {error}") from error
