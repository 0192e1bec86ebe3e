"""System checks: what is wrong with the settings, said before anything runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from . import conf
from .broker import get_broker


def register_checks() -> None:
    checks.register(check_settings)
    checks.register(check_database_broker, checks.Tags.database)


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E001: the settings cannot be used."""
    try:
        conf.configured()
        get_broker()
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="django_tasks_q.E001")]
    return []


def check_database_broker(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """E002: SQLite too old for RETURNING. E003: PostgreSQL without psycopg 3. W001: SQLite without write-ahead log."""
    found: list[checks.CheckMessage] = []
    for alias in databases or ():
        vendor = connections[alias].vendor
        if vendor == "sqlite":
            found += _check_sqlite(alias)
        elif vendor == "postgresql":
            found += _check_postgresql(alias)
    return found


def _check_sqlite(alias: str) -> list[checks.CheckMessage]:
    if sqlite3.sqlite_version_info < (3, 35):
        return [
            checks.Error(
                f"SQLite {sqlite3.sqlite_version} is too old for the database broker.",
                hint="Use SQLite 3.35 or newer (RETURNING).",
                id="django_tasks_q.E002",
            )
        ]
    with connections[alias].cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        row = cursor.fetchone()
    if row and row[0] in ("wal", "memory"):
        return []
    return [
        checks.Warning(
            f"Database {alias!r} does not use SQLite's write-ahead log, so readers and the worker block each other.",
            hint='Set OPTIONS = {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL", '
            '"transaction_mode": "IMMEDIATE", "timeout": 20}.',
            id="django_tasks_q.W001",
        )
    ]


def _check_postgresql(alias: str) -> list[checks.CheckMessage]:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if is_psycopg3:
        return []
    return [
        checks.Error(
            f"Database {alias!r}: the database broker needs psycopg 3.",
            hint="pip install 'django-tasks-q[postgres]'",
            id="django_tasks_q.E003",
        )
    ]
