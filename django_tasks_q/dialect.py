"""The words in which the databases differ.

Lists of ids travel as one parameter (an array, or JSON), so a statement is the same for every batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from . import clock
from .sql import Database, Row


class Dialect(NamedTuple):
    """``now_ms`` is the database's own time in epoch milliseconds, ``now`` the same as Django stores a moment."""

    mark: str
    now_ms: str
    now: str
    in_seconds: str
    """As ``now``, so many seconds later; one parameter."""
    lock: str
    """At the end of a SELECT: nobody else changes these rows before the transaction ends; SQLite's has them all."""
    skip_locked: str
    """The same, without those that somebody else has locked."""
    returning: bool
    """Whether a statement that changes rows can tell which; see :class:`Change` for the others."""
    quote: str
    """What stands around a name; see :meth:`name`."""
    insert_new: str
    """How an INSERT begins that leaves known rows as they are, and ends, with ``if_new``. Its count is of new rows."""
    if_new: str
    json: str
    """The mark of a parameter that is JSON text."""
    binary: str
    """The mark of a parameter that is bytes, and never null."""
    text: str
    """A column as text; to be formatted with it."""
    in_ids: str
    """What follows a column to say that it is one of the ids of a parameter; see :func:`ids`."""
    in_numbers: str
    """The same for a column of numbers."""
    among: str
    """The same of those that a SELECT finds; to be formatted with it.

    PostgreSQL is given an array: a subquery it may join, and when it saw the table last while that was empty, as a
    queue is most of the time, it reads all of the table once for each row of the batch.
    """
    epoch_ms: str
    """A stored moment in epoch milliseconds; to be formatted with the column."""
    sortable: str
    """A stored moment as it can be handed back as a parameter; to be formatted with the column."""
    batch: int
    """Rows that one transaction may change: SQLite has one writer, who must not keep the others waiting."""

    def name(self, name: str) -> str:
        """A name that is a word of somebody's SQL as well."""
        return f"{self.quote}{name}{self.quote}"


SQLITE = Dialect(
    mark="?",
    now_ms="CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
    now="strftime('%Y-%m-%d %H:%M:%f', 'now')",
    in_seconds="strftime('%Y-%m-%d %H:%M:%f', 'now', ? || ' seconds')",
    lock="",
    skip_locked="",
    returning=True,
    quote='"',
    insert_new="INSERT INTO",
    if_new=" ON CONFLICT DO NOTHING",
    json="?",
    binary="?",
    text="CAST({} AS TEXT)",
    in_ids="IN (SELECT value FROM json_each(?))",
    in_numbers="IN (SELECT value FROM json_each(?))",
    among="IN ({})",
    epoch_ms="CAST(ROUND((julianday({}) - 2440587.5) * 86400000) AS INTEGER)",
    sortable="CAST({} AS TEXT)",
    batch=200,
)
POSTGRESQL = Dialect(
    mark="%s",
    # Not now(): that is when the transaction began.
    now_ms="(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    now="clock_timestamp()",
    in_seconds="clock_timestamp() + make_interval(secs => %s)",
    lock=" FOR UPDATE",
    skip_locked=" FOR UPDATE SKIP LOCKED",
    returning=True,
    quote='"',
    insert_new="INSERT INTO",
    if_new=" ON CONFLICT DO NOTHING",
    json="%s::jsonb",
    binary="%s",
    text="CAST({} AS TEXT)",
    in_ids="= ANY(%s::text[])",
    in_numbers="= ANY(%s::bigint[])",
    among="= ANY(ARRAY({}))",
    epoch_ms="(extract(epoch FROM {}) * 1000)::bigint",
    sortable="{}",
    batch=1_000,
)

# Words that both MySQL and MariaDB know.
MYSQL = Dialect(
    mark="%s",
    # Not UNIX_TIMESTAMP(): that goes by the session's time zone, in which an hour may come twice.
    now_ms="(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000)",
    now="UTC_TIMESTAMP(6)",
    in_seconds="TIMESTAMPADD(MICROSECOND, %s * 1000000, UTC_TIMESTAMP(6))",
    lock=" FOR UPDATE",
    skip_locked=" FOR UPDATE SKIP LOCKED",
    returning=False,
    quote="`",
    insert_new="INSERT IGNORE INTO",
    if_new="",
    json="%s",
    binary="_binary %s",
    text="CAST({} AS CHAR)",
    in_ids="IN %s",
    in_numbers="IN %s",
    among="IN ({})",
    epoch_ms="(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {}) DIV 1000)",
    sortable="CAST({} AS CHAR)",
    batch=1_000,
)

_DIALECTS = {"sqlite": SQLITE, "postgresql": POSTGRESQL, "mysql": MYSQL}

VENDORS = tuple(_DIALECTS)
"""The databases whose SQL the engine speaks, as Django calls them; MariaDB is "mysql" as well."""


def dialect(database: Database) -> Dialect:
    """The words of a database."""
    return _DIALECTS[database.vendor]


def ids(database: Database, values: Sequence[str] | Sequence[int]) -> Any:
    """Ids or numbers as one parameter."""
    if database.vendor == "mysql":
        return tuple(values) or (None,)  # the driver writes a list of them, which may not be empty
    return list(values) if database.vendor == "postgresql" else json.dumps(list(values))


def replace(words: Dialect, key: str, columns: Sequence[str]) -> str:
    """The end of an INSERT that replaces these columns of a row whose ``key`` is known."""
    names = [words.name(name) for name in columns]
    if words is MYSQL:
        return f"ON DUPLICATE KEY UPDATE {', '.join(f'{name} = VALUES({name})' for name in names)}"
    return f"ON CONFLICT ({key}) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in names)}"


def moment(database: Database, ms: int) -> Any:
    """Epoch milliseconds as a parameter to be compared with a stored moment."""
    value = clock.as_datetime(ms)
    return value if database.vendor == "postgresql" else str(value.replace(tzinfo=None))


def as_now(database: Database, ms: int) -> Any:
    """Epoch milliseconds as a parameter, written as ``now`` writes them: on SQLite the two are compared as texts."""
    value = clock.as_datetime(ms)
    return value if database.vendor == "postgresql" else value.replace(tzinfo=None).isoformat(" ", "milliseconds")


def now_ms(database: Database) -> int:
    """The database's time."""
    return int(database.rows(f"SELECT {dialect(database).now_ms}")[0][0])


class Change:
    """A statement that changes rows and tells of each what it says after RETURNING."""

    def __init__(self, sql: str) -> None:
        self._sql = sql

    def run(self, database: Database, params: Sequence[Any]) -> list[Row]:
        return database.rows(self._sql, params)


class ChangeInSteps(Change):
    """The same where no statement can tell: rows are looked at and locked, then changed, in the transaction that is
    open.

    Parameters:
        look: a SELECT that locks; it chooses the key first, then what is told.
        change: an UPDATE or DELETE :func:`by_keys`, which is its only parameter.
    """

    def __init__(self, look: str, change: str) -> None:
        super().__init__(look)
        self._change = change

    def run(self, database: Database, params: Sequence[Any]) -> list[Row]:
        rows = database.rows(self._sql, params)
        if rows:
            database.count(self._change, (keys([row[0] for row in rows]),))
        return [row[1:] for row in rows]


def by_keys(table: str, key: str = "id", kind: str = "BIGINT", index: str = "PRIMARY") -> str:
    """``table`` as MySQL changes rows of it, each looked up by an index that begins with ``key``; the parameter: see
    :func:`keys`.

    A list of keys after IN would do where the server believed it. One that takes the table for small reads all of it
    instead, whatever index it is told to use for a DELETE, and waits for the locks of everybody.
    """
    wanted = "k.wanted" if kind == "BIGINT" else "CONVERT(k.wanted USING utf8mb4) COLLATE utf8mb4_bin"
    return (
        f"JSON_TABLE(%s, '$[*]' COLUMNS (wanted {kind} PATH '$')) AS k "
        f"STRAIGHT_JOIN {table} FORCE INDEX ({index}) ON {table}.{key} = {wanted}"
    )


def keys(values: Sequence[Any]) -> str:
    """Keys as the parameter of :func:`by_keys`."""
    return json.dumps(list(values))


_CHUNK = 200
_CHUNK_BYTES = 1_000_000
"""What one INSERT carries at most: a server of MySQL refuses what is longer than its ``max_allowed_packet``."""

_Item = TypeVar("_Item")


def chunks(items: Sequence[_Item], size_of: Callable[[_Item], int]) -> Iterator[Sequence[_Item]]:
    """The items in parts that MySQL takes as the rows of one INSERT, each of so many bytes."""
    begin = size = 0
    for index, item in enumerate(items):
        if index > begin and (index - begin >= _CHUNK or size + size_of(item) > _CHUNK_BYTES):
            yield items[begin:index]
            begin, size = index, 0
        size += size_of(item)
    if begin < len(items):
        yield items[begin:]


def array(values: Iterable[str | int | bytes | None]) -> str:
    """An array as PostgreSQL reads it: written here, a batch costs a tenth of what the driver takes for a list."""
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: str | int | bytes | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    if '"' in value or "\\" in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'
