"""What is measured: the package, and its peers, each as it comes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import variables
from .brokers import CLEAR, URLS
from .databases import Database, Store
from .processes import ROOT, Workers, run
from .slots import Slots

REQUIREMENTS = Path(__file__).with_name("requirements-peers.txt")


@dataclass(frozen=True)
class Engine:
    """One package: how its workers are started and how its database is asked.

    Parameters:
        module: the folder with its settings and tasks.
        commands: what to start with the engine's Python, all at the same time.
        shape: the same in words.
        waiting: a query for the number of messages that are not finished; None: the tasks module knows.
        records: one for the number of records, ``unfinished`` for those that are not final and successful; None: it
            keeps none.
        broker: where the messages are, when that is not the database.
        variables: more of its environment.
    """

    name: str
    module: str
    commands: tuple[tuple[str, ...], ...]
    shape: str
    waiting: str | None = None
    records: str | None = None
    unfinished: str | None = None
    broker: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    vendors: tuple[str, ...] = ("sqlite", "postgresql")
    python: Callable[[], str] = field(default=lambda: sys.executable)
    is_peer: bool = True
    has_bulk: bool = True

    def place(self, vendor: str) -> str:
        """Where its messages are and, after a plus sign, where its records are."""
        if not self.broker:
            return vendor
        return f"{self.broker} + {vendor}" if self.records else self.broker

    def environment(self, database: Database, slots: Path, namespace: str = "") -> dict[str, str]:
        broker = {variables.BROKER: URLS[self.broker], variables.NAMESPACE: namespace} if self.broker else {}
        return {
            **os.environ,
            **broker,
            **dict(self.variables),
            "DJANGO_SETTINGS_MODULE": f"{self.module}.settings",
            "PYTHONPATH": str(ROOT),
            variables.TASKS: f"{self.module}.tasks",
            variables.DATABASE: json.dumps(database.config),
            variables.SLOTS: str(slots),
        }

    def command(self, *arguments: str) -> list[str]:
        return [self.python(), *arguments]


DJANGO_TASKS_Q = Engine(
    name="django-tasks-q",
    module="benchmarks.project",
    commands=((str(ROOT / "manage.py"), "runworkers", "-p", "2", "-t", "8"),),
    shape="2 processes × 8 threads",
    waiting="SELECT COUNT(*) FROM django_tasks_q_queuedmessage",
    records="SELECT COUNT(*) FROM django_tasks_q_messagerecord",
    unfinished="SELECT COUNT(*) FROM django_tasks_q_messagerecord WHERE state <> 'succeeded'",
    vendors=("sqlite", "postgresql", "mariadb"),
    is_peer=False,
)


def peer_python() -> str:
    """The Python of the peers' environment, which is made when the requirements have changed."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "django-tasks-q"
    folder = cache / f"peers-{digest}"
    python = folder / "bin" / "python"
    if not (folder / ".installed").exists():
        print(f"Installing the peers into {folder}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)], check=True)
        (folder / ".installed").touch()
    return str(python)


PEERS = (
    Engine(
        name="django-tasks-db",
        module="benchmarks.peers.django_tasks_db",
        commands=(("-m", "django", "db_worker"),) * 2,
        shape="2 processes, one task at a time each",
        waiting="SELECT COUNT(*) FROM django_tasks_database_dbtaskresult WHERE status IN ('READY', 'RUNNING')",
        records="SELECT COUNT(*) FROM django_tasks_database_dbtaskresult",
        unfinished="SELECT COUNT(*) FROM django_tasks_database_dbtaskresult WHERE status <> 'SUCCESSFUL'",
        python=peer_python,
        has_bulk=False,
    ),
    Engine(
        name="procrastinate",
        module="benchmarks.peers.procrastinate",
        commands=(("-m", "django", "procrastinate", "worker", "--concurrency", "8"),) * 2,
        shape="2 processes × 8 coroutines",
        waiting="SELECT COUNT(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')",
        records="SELECT COUNT(*) FROM procrastinate_jobs",
        unfinished="SELECT COUNT(*) FROM procrastinate_jobs WHERE status <> 'succeeded'",
        vendors=("postgresql",),
        python=peer_python,
    ),
)


def _on_broker(broker: str, client: str) -> tuple[Engine, ...]:
    """Who is measured on a broker, the package with records and without; ``client`` is the bare library."""
    off = ((variables.RECORDS_OFF, "1"),)
    nothing = {"vendors": ("sqlite",), "broker": broker}
    return (
        replace(DJANGO_TASKS_Q, broker=broker, waiting=None),
        replace(
            DJANGO_TASKS_Q, name="django-tasks-q, no records", waiting=None, records=None, variables=off, **nothing
        ),
        Engine(
            name="dramatiq",
            module="benchmarks.peers.dramatiq",
            commands=(("-m", "dramatiq", "benchmarks.peers.dramatiq.tasks", "-p", "2", "-t", "8"),),
            shape="2 processes × 8 threads",
            python=peer_python,
            has_bulk=False,
            **nothing,
        ),
        Engine(
            name=client,
            module=f"benchmarks.peers.bare_{broker}",
            commands=(("-m", f"benchmarks.peers.bare_{broker}.worker"),) * 2,
            shape="2 processes, 100 messages at a time: what the library and the server allow",
            python=peer_python,
            **nothing,
        ),
    )


ON_BROKERS = (*_on_broker("redis", "redis-py"), *_on_broker("rabbitmq", "pika"))


class Bench:
    """One engine on one fresh database, with a ledger of ``messages`` slots."""

    def __init__(self, engine: Engine, database: Database, vendor: str, folder: Path, messages: int) -> None:
        self.engine = engine
        self.vendor = vendor
        self.database = database
        self._folder = folder
        path = folder / "slots"
        self.slots = Slots.create(path, messages)
        self._namespace = f"dtqbench{os.getpid()}"
        self._environment = engine.environment(database, path, self._namespace)

    def ask(self, job: str, **arguments: Any) -> Any:
        """Have a process of its own send; what it found."""
        command = [self.engine.python(), "-m", "benchmarks.client", job, json.dumps(arguments)]
        return json.loads(run(command, self._environment))

    def workers(self, database: Database | None = None, **more: str) -> Workers:
        """Start the workers, on ``database`` when that is reached another way than by the clients.

        ``more`` goes into their environment.
        """
        environment = self._environment | more
        if database is not None:
            environment[variables.DATABASE] = json.dumps(database.config)
        commands = [self.engine.command(*command) for command in self.engine.commands]
        return Workers(commands, environment, self._folder / "workers.log")

    def number(self, query: str) -> int:
        return self.database.number(query)

    def waiting(self) -> int:
        """How many messages are not finished."""
        query = self.engine.waiting
        return int(self.ask("waiting")) if query is None else self.number(query)

    def close(self) -> None:
        """Leave nothing in the broker."""
        if self.engine.broker:
            CLEAR[self.engine.broker](self._namespace)


def prepared_database(engine: Engine, store: Store, folder: Path) -> AbstractContextManager[Database]:
    """A fresh database with the tables of ``engine``."""

    def migrate(database: Database) -> None:
        path = folder / "no-slots"
        Slots.create(path, 1)
        run(engine.command("-m", "django", "migrate", "--verbosity", "0"), engine.environment(database, path, "nobody"))

    return store.database(engine.module.rpartition(".")[2], migrate)
