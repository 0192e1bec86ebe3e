"""The words in which the databases differ.

Lists of ids travel as one parameter (an array, or JSON), so a statement is the same for every batch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from . import clock
from .sql import Database


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
    json: str
    """The mark of a parameter that is JSON text."""
    in_ids: str
    """What follows a column to say that it is one of the ids of a parameter; see :func:`ids`."""
    in_numbers: str
    """The same for a column of numbers."""
    epoch_ms: str
    """A stored moment in epoch milliseconds; to be formatted with the column."""
    sortable: str
    """A stored moment as it can be handed back as a parameter; to be formatted with the column."""
    batch: int
    """Rows that one transaction may change: SQLite has one writer, who must not keep the others waiting."""


SQLITE = Dialect(
    mark="?",
    now_ms="CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
    now="strftime('%Y-%m-%d %H:%M:%f', 'now')",
    in_seconds="strftime('%Y-%m-%d %H:%M:%f', 'now', ? || ' seconds')",
    lock="",
    skip_locked="",
    json="?",
    in_ids="IN (SELECT value FROM json_each(?))",
    in_numbers="IN (SELECT value FROM json_each(?))",
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
    json="%s::jsonb",
    in_ids="= ANY(%s::text[])",
    in_numbers="= ANY(%s::bigint[])",
    epoch_ms="(extract(epoch FROM {}) * 1000)::bigint",
    sortable="{}",
    batch=1_000,
)


def dialect(database: Database) -> Dialect:
    """The words of a database."""
    return POSTGRESQL if database.vendor == "postgresql" else SQLITE


def ids(database: Database, values: Sequence[str] | Sequence[int]) -> Any:
    """Ids or numbers as one parameter."""
    return list(values) if database.vendor == "postgresql" else json.dumps(list(values))


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
