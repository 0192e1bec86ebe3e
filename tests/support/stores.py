"""Databases for trees of worker processes: one for each test.

What the tests ask of a database they ask with its driver, so that the engine never answers for itself.
"""

from __future__ import annotations

import copy
import itertools
import os
import sqlite3
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql
from django.db import connections

from django_tasks_q import Message
from django_tasks_q.brokers.database import DatabaseBroker
from testproject import mysql_driver

ROOT = Path(__file__).resolve().parent.parent.parent
POSTGRES_URL = os.environ.get("DTQ_TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/test")
MARIADB_URL = os.environ.get("DTQ_TEST_MARIADB_URL", "mysql://root@127.0.0.1:3306/test")

QUEUE = "django_tasks_q_queuedmessage"
RECORDS = "django_tasks_q_messagerecord"
ATTEMPTS = "django_tasks_q_attempt"
LEASES = "django_tasks_q_queueworker"
DEAD_PLACE = 3

_numbers = itertools.count(1)


def environment(url: str, **more: str) -> dict[str, str]:
    """The environment of a process of the test project on the database ``url``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "DJANGO_", "DTQ_"))}
    return {**kept, "DJANGO_SETTINGS_MODULE": "testproject.settings", "DATABASE_URL": url, **more}


def migrate(url: str) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment(url), check=True, timeout=200
    )


class Store(ABC):
    """One database: to send from this process, and to look at what the engine made of it."""

    vendor = ""
    like = ""
    """The alias of the tests' own database of this vendor."""
    url = ""
    mark = "?"

    def __init__(self, name: str) -> None:
        self.name = name
        """In ``DATABASES``."""
        self._alias = f"store{next(_numbers)}"
        self._broker: DatabaseBroker | None = None
        self.settings: Mapping[str, Any] = {}
        """What processes on this store are told of ``DJANGO_TASKS_Q``."""

    @abstractmethod
    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own; ``?`` marks parameters."""

    @property
    @abstractmethod
    def _config(self) -> dict[str, Any]:
        """What makes Django's settings of the vendor's alias point here."""

    @property
    def broker(self) -> DatabaseBroker:
        """A broker in this process, to send with."""
        if self._broker is None:
            connections.settings[self._alias] = copy.deepcopy(connections.settings[self.like]) | self._config
            self._broker = DatabaseBroker(using=self._alias)
            self._broker.declare_queue("default")
        return self._broker

    @property
    def alias(self) -> str:
        """The database's name among this process's connections."""
        return self.broker.using

    def send(self, messages: Iterable[Message[Any]]) -> list[str]:
        """Send; returns the ids, all of which are acknowledged."""
        return [message.message_id for message in self.broker.enqueue_many(list(messages))]

    def close(self) -> None:
        if self._broker is not None:
            self._broker.close()
            del connections.settings[self._alias]
            del connections[self._alias]
            self._broker = None

    # Looking

    def unfinished(self) -> int:
        """Messages that are waiting or in flight."""
        return int(self.rows(f"SELECT COUNT(*) FROM {QUEUE} WHERE place <> {DEAD_PLACE}")[0][0])

    def in_flight(self) -> list[str]:
        return [row[0] for row in self.rows(f"SELECT message_id FROM {QUEUE} WHERE place = 2")]

    def dead(self) -> dict[str, str]:
        """Reason of each dead letter, by id."""
        return dict(self.rows(f"SELECT message_id, dead_reason FROM {QUEUE} WHERE place = {DEAD_PLACE}"))

    def states(self) -> dict[str, str]:
        """State of each record, by id."""
        return dict(self.rows(f"SELECT message_id, state FROM {RECORDS}"))

    def record(self, message_id: str) -> dict[str, Any]:
        names = ("state", "retries", "deliveries", "lost", "dead_reason", "error_type", "error_message", "worker")
        found = self.rows(f"SELECT {', '.join(names)} FROM {RECORDS} WHERE message_id = ?", [message_id])
        return dict(zip(names, found[0], strict=True)) if found else {}

    def attempts(self, message_id: str) -> list[tuple[str, str]]:
        """Outcome and error text of each attempt that the history tells of."""
        sql = f"SELECT outcome, error_message FROM {ATTEMPTS} WHERE message_id = ? ORDER BY id"
        return [(row[0], row[1]) for row in self.rows(sql, [message_id])]

    def all_attempts(self) -> dict[str, list[str]]:
        """Outcomes of all attempts, by message."""
        found: dict[str, list[str]] = {}
        for message_id, outcome in self.rows(f"SELECT message_id, outcome FROM {ATTEMPTS} ORDER BY id"):
            found.setdefault(message_id, []).append(outcome)
        return found

    def leases_left(self) -> list[float]:
        """Seconds until each lease runs out; the databases of these tests have this machine's clock."""
        return [row[0] / 1000 - time.time() for row in self.rows(f"SELECT expires_at FROM {LEASES}")]

    def leases(self) -> list[str]:
        return [row[0] for row in self.rows(f"SELECT worker_id FROM {LEASES}")]


class SQLiteStore(Store):
    vendor = "sqlite"
    like = "default"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.url = f"sqlite:///{name}"

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.name, timeout=20, isolation_level=None)
        try:
            return connection.execute(sql, params).fetchall()
        finally:
            connection.close()

    @property
    def _config(self) -> dict[str, Any]:
        return {"NAME": self.name}


class PostgreSQLStore(Store):
    vendor = like = "postgresql"

    def __init__(self, name: str, server: str = POSTGRES_URL) -> None:
        super().__init__(name)
        self.url = urlsplit(server)._replace(path=f"/{name}").geturl()

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.replace("?", "%s"), params)
            return cursor.fetchall() if cursor.description else []

    @property
    def _config(self) -> dict[str, Any]:
        server = urlsplit(self.url)
        return {"NAME": self.name, "HOST": server.hostname, "PORT": server.port}


class MariaDBStore(Store):
    vendor = like = "mariadb"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.url = urlsplit(MARIADB_URL)._replace(path=f"/{name}").geturl()

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with closing(mariadb_connection(self.name)) as connection, connection.cursor() as cursor:
            cursor.execute(sql.replace("?", "%s"), params)
            return list(cursor.fetchall())

    @property
    def _config(self) -> dict[str, Any]:
        return {"NAME": self.name}


def mariadb_connection(database: str | None = None) -> Any:
    """One that commits each statement."""
    server = urlsplit(MARIADB_URL)
    host = server.hostname or "127.0.0.1"
    return pymysql.connect(
        host=host,
        port=server.port or 3306,
        user=unquote(server.username or "root"),
        password=unquote(server.password or ""),
        database=database,
        autocommit=True,
        **mysql_driver.options(host),
    )
