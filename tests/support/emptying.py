"""Tables that tests have written to, emptied again: only those of databases that somebody has connected to."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.transaction import atomic
from django.dispatch import receiver

TABLES = (
    "django_tasks_q_actorstate",
    "django_tasks_q_attempt",
    "django_tasks_q_controlversion",
    "django_tasks_q_gathereditem",
    "django_tasks_q_messagerecord",
    "django_tasks_q_messageresult",
    "django_tasks_q_queuedmessage",
    "django_tasks_q_queuestate",
    "django_tasks_q_queueworker",
    "django_tasks_q_ratelimitadmissions",
    "django_tasks_q_ratelimitarrival",
    "django_tasks_q_ratelimitgathering",
    "django_tasks_q_ratelimitmutex",
    "django_tasks_q_revocation",
    "django_tasks_q_scheduleentry",
    "django_tasks_q_schedulerun",
    "django_tasks_q_servicelease",
    "django_tasks_q_stamp",
    "django_tasks_q_uniqueholder",
    "django_tasks_q_waitingmessage",
    "django_tasks_q_workerprocess",
)

_used: set[tuple[str, str]] = set()
_kept: dict[tuple[str, str], psycopg.Connection[Any]] = {}


@receiver(connection_created)
def _note(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """In any thread, and by any alias that leads to the database."""
    _used.add(_identity(connection))


def empty_what_was_used() -> None:
    """This thread's connections are closed. Threads that a test leaves behind would have to be looked for again."""
    for connection in connections.all():
        if connection.connection is not None:
            _note(connection)
            connection.close()
        if _identity(connection) in _used:
            _empty(connection)
    _used.clear()


def let_go() -> None:
    """Close what was kept open, before the databases are dropped."""
    for connection in _kept.values():
        connection.close()
    _kept.clear()


def _empty(connection: BaseDatabaseWrapper) -> None:
    if connection.vendor == "postgresql":
        _empty_postgresql(connection)
        return
    with atomic(using=connection.alias), connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table}")
    connection.close()


def _empty_postgresql(connection: BaseDatabaseWrapper) -> None:
    """On a connection that is kept: a new one costs ten times what emptying does. In one round trip."""
    identity = _identity(connection)
    kept = _kept.get(identity)
    if kept is None or kept.closed:
        kept = _kept[identity] = psycopg.connect(**connection.get_connection_params(), autocommit=True)
    kept.execute("; ".join(f"DELETE FROM {table}" for table in TABLES))


def _identity(connection: BaseDatabaseWrapper) -> tuple[str, str]:
    return connection.vendor, str(connection.settings_dict["NAME"])
