"""How a batch of rows travels to each vendor's statements."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ..dialect import array
from ..models import Attempt, MessageRecord
from ..sql import Database
from . import statements
from .text import shallow

_RECORDS = MessageRecord._meta.db_table
_ATTEMPTS = Attempt._meta.db_table

Rows = Sequence[tuple[Any, ...]]


class Batches(ABC):
    """Writes rows in whatever transaction is open. What they hold, in which order: :mod:`statements`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @abstractmethod
    def update(self, rows: Rows) -> int:
        """State changes; of how many messages the record was known and moved."""

    @abstractmethod
    def upsert(self, rows: Rows) -> int:
        """State changes with births; of how many messages the record moved or was born."""

    @abstractmethod
    def insert(self, rows: Rows) -> None:
        """Attempts."""

    @abstractmethod
    def advance(self, rows: Rows) -> None:
        """Progress of messages that have a record."""


class SQLiteBatches(Batches):
    """One prepared statement, run for each row."""

    def update(self, rows: Rows) -> int:
        return self._database.many(statements.sqlite_update(_RECORDS), rows)

    def upsert(self, rows: Rows) -> int:
        return self._database.many(statements.sqlite_upsert(_RECORDS), rows)

    def insert(self, rows: Rows) -> None:
        self._database.many(statements.sqlite_attempts(_ATTEMPTS), rows)

    def advance(self, rows: Rows) -> None:
        self._database.many(statements.sqlite_progress(_RECORDS), rows)


class PostgreSQLBatches(Batches):
    """One statement, with an array for each column."""

    def update(self, rows: Rows) -> int:
        return self._database.count(statements.postgresql_update(_RECORDS), _columns(rows))

    def upsert(self, rows: Rows) -> int:
        return self._database.count(statements.postgresql_upsert(_RECORDS), _columns(rows))

    def insert(self, rows: Rows) -> None:
        self._database.count(statements.postgresql_attempts(_ATTEMPTS), _columns(rows))

    def advance(self, rows: Rows) -> None:
        self._database.count(statements.postgresql_progress(_RECORDS), _columns(rows))


class MySQLBatches(Batches):
    """One statement, with a JSON document; several, when the documents would be long."""

    def update(self, rows: Rows) -> int:
        sql = statements.mysql_update(_RECORDS)
        return sum(self._database.count(sql, (document,)) for document in _documents(rows))

    def upsert(self, rows: Rows) -> int:
        # In one order, so that two who write the same records do not wait for each other.
        ids = sorted(row[0] for row in rows)
        self._database.count(statements.mysql_stubs(_RECORDS, len(ids)), ids)
        sql = statements.mysql_upsert(_RECORDS)
        return sum(self._database.count(sql, (document,)) for document in _documents([_plain(row) for row in rows]))

    def insert(self, rows: Rows) -> None:
        self._database.many(statements.mysql_attempts(_ATTEMPTS), rows)

    def advance(self, rows: Rows) -> None:
        sql = statements.mysql_progress(_RECORDS)
        for document in _documents(rows):
            self._database.count(sql, (document,))


_KNOWN: dict[str, type[Batches]] = {
    "sqlite": SQLiteBatches,
    "postgresql": PostgreSQLBatches,
    "mysql": MySQLBatches,
}


def batches_for(database: Database) -> Batches:
    """How batches travel to this database."""
    return _KNOWN[database.vendor](database)


def _columns(rows: Rows) -> list[Any]:
    """Rows as one array for each column, which is how a batch travels to PostgreSQL."""
    return [array(column) for column in zip(*rows, strict=True)]


_ARGS, _KWARGS, _OPTIONS, _RAW = (
    len(statements.STATE_COLUMNS) + statements.BIRTH_COLUMNS.index(name)
    for name in ("args", "kwargs", "options", "raw")
)

_DOCUMENT_BYTES = 1_000_000
"""A server refuses what is longer than its ``max_allowed_packet``, which may be 16 MiB."""


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A state change with a birth as JSON can hold it."""
    values = list(row)
    for position in (_ARGS, _KWARGS, _OPTIONS):
        values[position] = shallow(values[position])
    if values[_RAW] is not None:
        values[_RAW] = base64.b64encode(values[_RAW]).decode()
    return tuple(values)


def _documents(rows: Rows) -> Iterator[str]:
    """The rows as lists of lists, none of them much longer than it may be."""
    parts: list[str] = []
    size = 0
    for row in rows:
        part = msgspec.json.encode(row).decode()
        if parts and size + len(part) > _DOCUMENT_BYTES:
            yield f"[{','.join(parts)}]"
            parts, size = [], 0
        parts.append(part)
        size += len(part)
    yield f"[{','.join(parts)}]"
