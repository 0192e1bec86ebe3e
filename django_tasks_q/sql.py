"""Statements on Django's connections without the cost of the ORM, and with errors that say what to do.

The ORM costs about ten times a hand-written statement on the hot path. What goes through here never appears in
``connection.queries``, which would grow without end in a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import BoundedSemaphore, local
from typing import Any, TypeVar

from django.db import (
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    connections,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper

from . import clock
from .errors import BrokerConnectionError, BrokerNotReady

Row = tuple[Any, ...]
T = TypeVar("T")

_AT_ONCE = 2
_FRESH = 5.0
"""How many connections threads share, and for how many seconds one of them is good without being used: a server that
was started anew meanwhile, or another one after a failover, gets a new one."""

_POSTGRESQL_BEGIN = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '5s'"
_MARIADB_LIMIT = "SET SESSION idle_transaction_timeout = 5"


class Database:
    """One alias of ``DATABASES``. Each thread has its own connection, as everywhere in Django.

    ``watch`` is called with every statement before it runs; tests count them and stop the world between them.
    """

    watch: Callable[[str], None] | None = None

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._limited = local()

    @property
    def connection(self) -> BaseDatabaseWrapper:
        return connections[self.alias]

    @property
    def vendor(self) -> str:
        return self.connection.vendor

    @cached_property
    def _prepares(self) -> bool:
        """Whether statements are prepared on the server, which saves it planning the same ones again and again.

        A pooler that hands each transaction another connection cannot keep them; Django's own switch for it says so.
        """
        return self.vendor == "postgresql" and not self.connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")

    @property
    def is_in_transaction(self) -> bool:
        """Whether the caller's transaction is open on this thread's connection."""
        connection: Any = self.connection
        if connection.in_atomic_block:
            return True
        if connection.connection is None:  # it will begin as the settings say
            return not connection.settings_dict["AUTOCOMMIT"]
        return not connection.autocommit  # get_autocommit() would connect, which a unit test may forbid

    def own(self) -> None:
        """This thread's connection is the engine's: each statement commits, whatever ``AUTOCOMMIT`` says of others.

        MariaDB ends a transaction in which nothing happens for seconds, as PostgreSQL does with each of
        :meth:`transaction`; MySQL has nothing of the kind.
        """
        self._commit_each()
        connection: Any = self.connection
        if connection.vendor == "mysql" and connection.connection is not getattr(self._limited, "connection", None):
            with self.errors():
                if connection.mysql_is_mariadb:
                    with self._cursor() as cursor:
                        cursor.execute(_MARIADB_LIMIT)
            self._limited.connection = connection.connection

    def _commit_each(self) -> None:
        connection: Any = self.connection
        with self.errors():
            if not connection.in_atomic_block and not connection.get_autocommit():
                connection.set_autocommit(True)

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """Run a statement that returns rows."""
        cursor = self._run(sql, params)
        try:
            return list(cursor.fetchall())
        finally:
            cursor.close()

    def count(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it changed."""
        cursor = self._run(sql, params)
        try:
            return int(cursor.rowcount)
        finally:
            cursor.close()

    def many(self, sql: str, params: Sequence[Sequence[Any]]) -> int:
        """Run one statement for each row of parameters; how many rows they changed together."""
        with self.errors():
            if self.watch is not None:
                self.watch(sql)
            cursor = self._cursor()
            try:
                cursor.executemany(sql, params)
                return int(cursor.rowcount)
            finally:
                cursor.close()

    def _run(self, sql: str, params: Sequence[Any]) -> Any:
        with self.errors():
            if self.watch is not None:
                self.watch(sql)
            cursor = self._cursor()
            if self._prepares:
                _execute_prepared(cursor, sql, params)
            else:
                cursor.execute(sql, params)
            return cursor

    def _cursor(self) -> Any:
        connection: Any = self.connection
        if connection.connection is None:
            connection.ensure_connection()
        if connection.vendor == "postgresql":
            return _postgresql_cursor(connection.connection)
        return connection.connection.cursor()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """The engine's own transaction, on a connection that is in none.

        SQLite's takes the write lock at once: deferred, it could not be upgraded while somebody else writes, whatever
        the time-out. PostgreSQL ends one in which nothing happens for seconds: the other side may be a host that was
        cut off, and while its locks are held nobody can give back what it had claimed.
        """
        self._commit_each()
        self._begin()
        try:
            yield
            self._run("COMMIT", ())
        except BaseException:
            self._rollback()
            raise

    def in_own_transaction(self, step: Callable[[], T]) -> T:
        """Run ``step`` in :meth:`transaction`, and again where the server ended that for another one to go on."""
        for _ in range(_DEADLOCKS):
            try:
                with self.transaction():
                    return step()
            except BrokerConnectionError as error:
                if not _is_deadlock(error):
                    raise
        with self.transaction():
            return step()

    def _begin(self) -> None:
        if self.vendor == "postgresql":
            with self.errors(), self._cursor() as cursor:
                if self.watch is not None:
                    self.watch(_POSTGRESQL_BEGIN)
                cursor.execute(_POSTGRESQL_BEGIN)  # two statements in one round trip, which cannot be prepared
        else:
            self._run("BEGIN IMMEDIATE" if self.vendor == "sqlite" else "BEGIN", ())

    def _rollback(self) -> None:
        if self.connection.connection is None:
            return  # lost, and the server has rolled it back
        try:
            self._run("ROLLBACK", ())
        except (BrokerConnectionError, BrokerNotReady):
            self.close()

    @contextmanager
    def atomic(self, *, savepoint: bool) -> Iterator[None]:
        """On the caller's connection: part of his transaction when one is open, else one of its own.

        ``savepoint``: an error inside leaves the caller's transaction usable.
        """
        with self.errors(), transaction.atomic(using=self.alias, savepoint=savepoint):
            yield

    @contextmanager
    def doom(self) -> Iterator[None]:
        """An error inside makes Django roll back the caller's transaction: the server would not go on with it."""
        try:
            with self.errors():
                yield
        except Exception:
            if self.connection.in_atomic_block:
                self.connection.needs_rollback = True
            raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Trouble with the database as the package's own errors."""
        try:
            with self.connection.wrap_database_errors:
                yield
        except (OperationalError, ProgrammingError, InterfaceError, InternalError) as error:
            if _is_bad_data(error):
                raise IntegrityError(*error.args) from error
            if _is_missing_table(error):
                raise BrokerNotReady(
                    f"The tables of django_tasks_q are missing in database {self.alias!r}: run "
                    f"'manage.py migrate{'' if self.alias == 'default' else ' --database ' + self.alias}'."
                ) from error
            if isinstance(error, ProgrammingError) and "closed" not in str(error):
                raise
            if isinstance(error, InternalError) and not (_is_read_only(error) or _is_closed(self.connection, error)):
                raise
            self._forget_what_is_lost(error)
            raise BrokerConnectionError(f"Database {self.alias!r}: {str(error).strip()}") from error

    def _forget_what_is_lost(self, error: Exception) -> None:
        """A connection that the server has ended never comes back: whoever asks next gets a new one. Neither
        does one to a server that only reads: after a failover the address leads to another.

        Within a caller's transaction that is left to Django: what follows must not run outside of it.
        """
        connection: Any = self.connection
        if not connection.in_atomic_block and (_is_read_only(error) or _is_closed(connection, error)):
            self.close()

    def close(self) -> None:
        """Close this thread's connection."""
        try:
            self.connection.close()
        except Error:
            self.connection.connection = None


class SeparateConnection(Database):
    """A connection beside the thread's own, until it is closed."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self._connection = connections.create_connection(alias)

    @property
    def connection(self) -> BaseDatabaseWrapper:
        return self._connection


class SharedConnections:
    """A few connections of the engine's own, for threads whose own ones are closed again and again.

    To open one takes longer than most of what is asked on it. Who finds all of them in use waits for his turn.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._room = BoundedSemaphore(_AT_ONCE)
        self._idle: list[tuple[float, Database]] = []

    @contextmanager
    def one(self) -> Iterator[Database]:
        """One of them, for nobody else meanwhile. After an error it is closed, whatever it was."""
        with self._room:
            database = self._fresh() or self._open()
            try:
                yield database
            except BaseException:
                database.close()
                raise
            self._idle.append((clock.monotonic(), database))

    def _fresh(self) -> Database | None:
        """The one that was used last, if that is not long ago."""
        try:
            since, database = self._idle.pop()
        except IndexError:
            return None
        if clock.monotonic() - since < _FRESH:
            return database
        database.close()
        return None

    def _open(self) -> Database:
        database = SeparateConnection(self._alias)
        database.connection.inc_thread_sharing()
        database.own()
        return database

    def close(self) -> None:
        """Let go of those that nobody uses now."""
        while self._idle:
            self._idle.pop()[1].close()


def _postgresql_cursor(connection: Any) -> Any:
    """A cursor that binds on the server: no escaping of payloads, and statements that run often are prepared."""
    import psycopg

    return psycopg.Cursor(connection)


def _execute_prepared(cursor: Any, sql: str, params: Sequence[Any]) -> None:
    """Django switches preparing off for the whole connection, which is right for the ORM's endless variety."""
    connection = cursor.connection
    before = connection.prepare_threshold
    connection.prepare_threshold = 0
    try:
        cursor.execute(sql, params, prepare=True)
    finally:
        connection.prepare_threshold = before


def _is_closed(connection: Any, error: Exception) -> bool:
    """Whether the driver's connection is of no more use; SQLite's only says so by refusing."""
    if connection.vendor == "mysql":
        return _mysql_number(error) in _MYSQL_LOST
    raw = connection.connection
    if connection.vendor == "postgresql" and raw is not None and raw.info.transaction_status in _IN_THE_MIDDLE:
        return True
    if hasattr(raw, "closed"):
        return bool(raw.closed)
    try:
        raw.execute("SELECT 1")
    except Exception:
        return True
    return False


_IN_THE_MIDDLE = (1, 4)
"""What libpq says of a connection that waits for an answer, or that nobody can tell anything of. After an error nobody
reads that answer any more: psycopg may see that a socket is gone before libpq does, for which it stays open then, and
every further statement would be refused for ever."""


def _is_read_only(error: Exception) -> bool:
    """Whether the server reads but does not write: a standby, or the old primary after a failover."""
    return getattr(error.__cause__, "sqlstate", None) == "25006" or _mysql_number(error) in _MYSQL_READ_ONLY


def _is_missing_table(error: Exception) -> bool:
    text = str(error)
    sqlstate = getattr(error.__cause__, "sqlstate", None)
    return "no such table" in text or sqlstate == "42P01" or _mysql_number(error) == _MYSQL_NO_TABLE


_DEADLOCKS = 5
"""How often in a row a transaction may be the one that is ended."""

_MYSQL_DEADLOCK = 1213


def _is_deadlock(error: BrokerConnectionError) -> bool:
    """Whether the server chose this one of transactions that waited for each other; nothing of it has happened."""
    cause = error.__cause__
    if not isinstance(cause, Exception):
        return False
    return _mysql_number(cause) == _MYSQL_DEADLOCK or getattr(cause.__cause__, "sqlstate", None) == "40P01"


def _is_bad_data(error: Exception) -> bool:
    """Whether a row was refused for what it holds; MySQL's drivers call that operational."""
    return _mysql_number(error) in _MYSQL_BAD_DATA


# MySQL and MariaDB number their errors; their drivers put the number first.

_MYSQL_LOST = frozenset({0, 1053, 1927, 2006, 2013, 2014, 2055, 4031})
"""What is said of a connection that was closed, killed or cut, or whose server stops."""

_MYSQL_READ_ONLY = frozenset({1290, 1792, 1836})
_MYSQL_NO_TABLE = 1146
_MYSQL_BAD_DATA = frozenset({1048, 1690, 3140, 3141, 3144, 3157, 3819, 4025})
"""NULL where none may be, numbers out of range, what is no JSON, and what a CHECK refuses."""


def _mysql_number(error: Exception) -> int | None:
    cause = error.__cause__
    number = cause.args[0] if cause is not None and cause.args else None
    return number if isinstance(number, int) else None
