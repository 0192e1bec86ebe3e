"""Databases that are the broker, hold the records or keep messages until a commit: can they, and are they set up?"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage
from django.db import Error as DatabaseTrouble
from django.db import connections

from .. import conf
from ..broker import Broker
from ..models import WaitingMessage
from .findings import broker_alias, engine_aliases, error, usable_broker, warning

OLDEST_SQLITE = (3, 35)
OLDEST_MARIADB = (10, 6)
OLDEST_MYSQL = (8, 0, 4)
SHORTEST_TIMEOUT = 10
"""Seconds that SQLite should wait for its lock; Django's default is 5."""
LONGEST_CONNECT_TIMEOUT = 2
"""Seconds that a commit may wait for a broker that is gone."""

_SQLITE = (
    'Set OPTIONS = {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL", '
    '"transaction_mode": "IMMEDIATE", "timeout": 20}.'
)


def check_engines(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """What settings and versions tell, without a connection.

    E002: SQLite too old for RETURNING. E003: PostgreSQL without psycopg 3. W002, W003: SQLite's transactions.
    W005: a commit may wait long for a broker that is gone. W014: MySQL's transactions lock more than they change.
    """
    broker = usable_broker()
    if broker is None:
        return []
    found: list[CheckMessage] = []
    for alias in sorted(engine_aliases(broker)):
        vendor = connections[alias].vendor
        if vendor == "sqlite":
            found += _check_sqlite(alias)
        elif vendor == "postgresql":
            found += _check_psycopg(alias)
        elif vendor == "mysql":
            found += _check_isolation(alias)
    return found + list(_check_connect_timeout(broker))


def _check_sqlite(alias: str) -> Iterator[CheckMessage]:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        text = f"SQLite {sqlite3.sqlite_version} is too old for the database broker."
        yield error("E002", text, "Use SQLite 3.35 or newer (RETURNING).")
    options = connections[alias].settings_dict["OPTIONS"]
    if str(options.get("transaction_mode", "")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        text = f"Database {alias!r}: transactions that read first fail at once, locked, while somebody else writes."
        yield warning("W002", text, _SQLITE)
    timeout = options.get("timeout", 5)
    if timeout < SHORTEST_TIMEOUT:
        text = (
            f"Database {alias!r}: whoever waits longer than {timeout} s for SQLite's lock fails; workers write often."
        )
        yield warning("W003", text, _SQLITE)


def _check_psycopg(alias: str) -> Iterator[CheckMessage]:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if not is_psycopg3:
        text = f"Database {alias!r}: the database broker needs psycopg 3."
        yield error("E003", text, "pip install 'django-tasks-q[postgres]'")


def _check_isolation(alias: str) -> Iterator[CheckMessage]:
    # None leaves it to the server, whose default is REPEATABLE READ.
    level = connections[alias].settings_dict["OPTIONS"].get("isolation_level", "read committed")
    if str(level).lower() not in ("read committed", "read uncommitted"):
        text = f"Database {alias!r}: its transactions lock the gaps between rows, so that senders and workers wait."
        yield warning(
            "W014", text, 'Leave "isolation_level" out of its OPTIONS: Django\'s default is "read committed".'
        )


def _check_connect_timeout(broker: Broker) -> Iterator[CheckMessage]:
    alias = broker_alias(broker)
    if alias is None or connections[alias].vendor != "postgresql" or not _is_elsewhere(alias):
        return
    timeout = connections[alias].settings_dict["OPTIONS"].get("connect_timeout")
    if not timeout or int(timeout) > LONGEST_CONNECT_TIMEOUT:
        text = (
            f"Database {alias!r}, the broker, is on a host of its own; when it is gone, commits elsewhere wait for it."
        )
        yield warning("W005", text, f'Set OPTIONS = {{"connect_timeout": {LONGEST_CONNECT_TIMEOUT}}} for it.')


def _is_elsewhere(alias: str) -> bool:
    """Whether another database of the project goes on when this one's host is gone."""
    host = connections.settings[alias]["HOST"]
    if not host or host.startswith("/") or host in ("localhost", "127.0.0.1", "::1"):
        return False
    return any(other["HOST"] != host for other in connections.settings.values())


def check_databases(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """What only a connection tells, of the databases that are to be checked.

    E004, W010: tables are missing. E013: no connection. E018: MariaDB or MySQL too old. W001: SQLite without
    write-ahead log.
    """
    broker = usable_broker()
    if broker is None:
        return []
    found: list[CheckMessage] = []
    for alias in databases or ():
        if alias in engine_aliases(broker):
            found += _check_engine(alias)
        elif conf.get("OUTBOX") and not broker.sends_within(alias):
            found += _check_outbox(alias)
    return found


def _check_engine(alias: str) -> Iterator[CheckMessage]:
    try:
        missing = _missing(alias, _all_tables())
        mode = _journal_mode(alias)
        is_old = _is_old_mysql(alias)
    except DatabaseTrouble as trouble:
        yield error("E013", f"Database {alias!r} does not answer: {str(trouble).strip()}")
        return
    if missing:
        text = f"Tables of django_tasks_q are missing in database {alias!r}: {', '.join(missing)}."
        yield error("E004", text, _migrate(alias))
    if is_old:
        text = f"Database {alias!r} is too old for the database broker."
        yield error("E018", text, "Use MariaDB 10.6 or newer, or MySQL 8.0.4 or newer (SKIP LOCKED, JSON_TABLE).")
    if mode not in ("wal", "memory"):
        text = f"Database {alias!r} does not use SQLite's write-ahead log, so readers and the worker block each other."
        yield warning("W001", text, _SQLITE)


def _check_outbox(alias: str) -> Iterator[CheckMessage]:
    table = WaitingMessage._meta.db_table
    try:
        is_missing = _missing(alias, {table})
    except DatabaseTrouble:
        return  # it is not ours; Django tells what is wrong with it
    if is_missing:
        yield warning(
            "W010",
            f"Database {alias!r} has no table {table}, so send_on_commit() fails in its transactions.",
            f"{_migrate(alias)} Or set OUTBOX to False, and messages are lost when a process dies at its commit.",
        )


def _migrate(alias: str) -> str:
    return f"Run 'manage.py migrate{'' if alias == 'default' else f' --database {alias}'}'."


def _all_tables() -> set[str]:
    return {model._meta.db_table for model in apps.get_app_config("django_tasks_q").get_models() if model._meta.managed}


def _missing(alias: str, tables: set[str]) -> list[str]:
    """Those of ``tables`` that are not there; none while migrate is about to make them."""
    if "migrate" in "".join(sys.argv[1:2]):
        return []
    connection = connections[alias]
    with connection.cursor() as cursor:
        return sorted(tables - set(connection.introspection.table_names(cursor)))


def _is_old_mysql(alias: str) -> bool:
    connection: Any = connections[alias]
    if connection.vendor != "mysql":
        return False
    oldest = OLDEST_MARIADB if connection.mysql_is_mariadb else OLDEST_MYSQL
    return bool(connection.mysql_version < oldest)


def _journal_mode(alias: str) -> str:
    """SQLite's; of others "wal", which they have in some form."""
    connection = connections[alias]
    if connection.vendor != "sqlite":
        return "wal"
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        return str(cursor.fetchone()[0])
