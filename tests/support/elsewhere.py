"""Brokers on servers of their own, which a test stops and starts again, for real processes and for the test's own."""

from __future__ import annotations

import json
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django_tasks_q.broker import Broker
from tests.support.private_postgresql import PrivatePostgreSQL
from tests.support.private_rabbitmq import PrivateRabbitMQ
from tests.support.private_redis import PrivateRedis
from tests.support.stores import ROOT, PostgreSQLStore, Store, environment

NAMESPACE = "elsewhere"


class Elsewhere(ABC):
    """A server with a broker on it.

    ``settings`` are those of processes that use it, ``variables`` what else they need in their environment.
    """

    settings: dict[str, Any]
    variables: dict[str, str]
    broker: Broker

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    def states(self, store: Store) -> dict[str, str]:
        """State of each record, by id; ``store`` is the database of the project."""
        return store.states()

    def environment(self) -> dict[str, str]:
        """All of it for a process that is no tree."""
        return {"DJANGO_TASKS_Q_JSON": json.dumps(self.settings), **self.variables}


class _Database(Elsewhere):
    """The database broker, on another server than the project's database."""

    settings = {"BROKER_URL": "database://second"}

    def __init__(self, server: PrivatePostgreSQL, project: Store) -> None:
        self._server = server
        self._store = PostgreSQLStore("postgres", server.url)
        self.variables = {"SECOND_DATABASE_URL": server.url}
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "-v0", "--database", "second"],
            cwd=ROOT,
            env=environment(project.url, **self.variables),
            check=True,
            timeout=200,
        )
        self.broker = self._store.broker

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def states(self, store: Store) -> dict[str, str]:
        return self._store.states()

    def close(self) -> None:
        self._store.close()


class Server(Elsewhere):
    """A broker that is reached by a URL alone."""

    variables: dict[str, str] = {}

    def __init__(self, module: str, server: PrivateRedis | PrivateRabbitMQ) -> None:
        self._server = server
        self.settings = {"BROKER_URL": server.url, "NAMESPACE": NAMESPACE}
        self.broker = import_module(f"django_tasks_q.brokers.{module}").from_url(server.url, namespace=NAMESPACE)
        self.broker.declare_queue("default")

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def suspend(self) -> None:
        """Everybody stays connected, and nobody is answered until ``resume()``."""
        self._server.suspend()

    def resume(self) -> None:
        self._server.resume()


@contextmanager
def _open_database(project: Store) -> Iterator[_Database]:
    # Not in a folder of pytest's: it takes those away from the server's user whenever another run begins.
    with TemporaryDirectory() as folder:
        server = PrivatePostgreSQL(Path(folder) / "server")
        server.start()
        try:
            database = _Database(server, project)
            yield database
            database.close()
        finally:
            server.stop()


@contextmanager
def open_elsewhere(kind: str, project: Store) -> Iterator[Elsewhere]:
    """``database``, ``redis`` or ``rabbitmq``, running."""
    if kind == "database":
        with _open_database(project) as database:
            yield database
        return
    with open_server(kind) as server:
        yield server


@contextmanager
def open_server(kind: str) -> Iterator[Server]:
    """``redis`` or ``rabbitmq``, running."""
    private: AbstractContextManager[PrivateRedis | PrivateRabbitMQ]
    private = PrivateRedis("always") if kind == "redis" else PrivateRabbitMQ()
    with private as running:
        server = Server(kind, running)
        yield server
        server.broker.close()
