"""Private databases: made for one measurement, dropped after it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

Migrate = Callable[["Database"], None]
MARIADB_URL = os.environ.get("DTQ_TEST_MARIADB_URL") or "mysql://root@127.0.0.1:3306/test"
POSTGRES_URL = os.environ.get("DTQ_TEST_POSTGRES_URL") or "postgres://postgres@127.0.0.1:5432/test"


class Database(ABC):
    """One database: how Django reaches it, and how the benchmark asks it."""

    config: dict[str, Any]

    @abstractmethod
    def number(self, query: str) -> int:
        """The one number that a query answers with."""


class SQLiteDatabase(Database):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(path),
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }

    def number(self, query: str) -> int:
        with closing(sqlite3.connect(self.path, timeout=20)) as connection:
            return int(connection.execute(query).fetchone()[0])


class PostgreSQLDatabase(Database):
    """``port``: another one than the server's, when something stands in between."""

    def __init__(self, name: str, port: int | None = None) -> None:
        self.name = name
        info = conninfo_to_dict(POSTGRES_URL)
        self.config = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "USER": info.get("user", ""),
            "PASSWORD": info.get("password", ""),
            "HOST": "127.0.0.1" if port else info.get("host", "127.0.0.1"),
            "PORT": str(port or info.get("port") or 5432),
            "OPTIONS": {"sslmode": "disable", "gssencmode": "disable"} if port else {},
        }

    def number(self, query: str) -> int:
        with psycopg.connect(make_conninfo(POSTGRES_URL, dbname=self.name), autocommit=True) as connection:
            (row,) = connection.execute(query.encode())
            return int(row[0])


class MariaDBDatabase(Database):
    def __init__(self, name: str) -> None:
        self.name = name
        server = urlsplit(MARIADB_URL)
        self.config = {
            "ENGINE": "django.db.backends.mysql",
            "NAME": name,
            "USER": unquote(server.username or "root"),
            "PASSWORD": unquote(server.password or ""),
            "HOST": server.hostname or "127.0.0.1",
            "PORT": str(server.port or 3306),
        }

    def number(self, query: str) -> int:
        with closing(mariadb_connection(self.name)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return int(cursor.fetchone()[0])


def mariadb_connection(database: str | None = None) -> Any:
    config = MariaDBDatabase("").config
    return pymysql.connect(
        host=config["HOST"],
        port=int(config["PORT"]),
        user=config["USER"],
        password=config["PASSWORD"],
        database=database,
        autocommit=True,
    )


class Store(ABC):
    """Makes databases with an engine's tables; they are migrated once and copied from then on."""

    vendor: str

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._templates: dict[str, Database] = {}
        self._made = 0

    @contextmanager
    def database(self, owner: str, migrate: Migrate) -> Iterator[Database]:
        """A database of its own, with the tables of ``owner``."""
        if owner not in self._templates:
            template = self._create(f"template_{owner}")
            self._templates[owner] = template
            migrate(template)
        self._made += 1
        database = self._copy(self._templates[owner], f"{owner}_{self._made}")
        try:
            yield database
        finally:
            self._drop(database)

    def close(self) -> None:
        for template in self._templates.values():
            self._drop(template)

    @abstractmethod
    def _create(self, name: str) -> Any: ...

    @abstractmethod
    def _copy(self, template: Any, name: str) -> Any: ...

    @abstractmethod
    def _drop(self, database: Any) -> None: ...


class SQLiteStore(Store):
    vendor = "sqlite"

    def _create(self, name: str) -> SQLiteDatabase:
        return SQLiteDatabase(self._folder / f"{name}.sqlite3")

    def _copy(self, template: SQLiteDatabase, name: str) -> SQLiteDatabase:
        copy = self._create(name)
        shutil.copyfile(template.path, copy.path)
        return copy

    def _drop(self, database: SQLiteDatabase) -> None:
        for suffix in ("", "-wal", "-shm"):
            database.path.with_name(database.path.name + suffix).unlink(missing_ok=True)


class PostgreSQLStore(Store):
    vendor = "postgresql"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._prefix = f"dtq_bench_{os.getpid()}"

    def _create(self, name: str) -> PostgreSQLDatabase:
        return self._make(name, "template0")

    def _copy(self, template: PostgreSQLDatabase, name: str) -> PostgreSQLDatabase:
        return self._make(name, template.name)

    def _make(self, name: str, template: str) -> PostgreSQLDatabase:
        name = f"{self._prefix}_{name}"
        self._run(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        return PostgreSQLDatabase(name)

    def _drop(self, database: PostgreSQLDatabase) -> None:
        self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database.name)))

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(make_conninfo(POSTGRES_URL, dbname="postgres"), autocommit=True) as connection:
            connection.execute(statement)


class MariaDBStore(Store):
    vendor = "mariadb"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._prefix = f"dtq_bench_{os.getpid()}"

    def _create(self, name: str) -> MariaDBDatabase:
        name = f"{self._prefix}_{name}"
        self._run(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return MariaDBDatabase(name)

    def _copy(self, template: MariaDBDatabase, name: str) -> MariaDBDatabase:
        copy = self._create(name)
        for (table,) in self._run(f"SHOW TABLES FROM {template.name}"):
            self._run(f"CREATE TABLE {copy.name}.{table} LIKE {template.name}.{table}")
            self._run(f"INSERT INTO {copy.name}.{table} SELECT * FROM {template.name}.{table}")
        return copy

    def _drop(self, database: MariaDBDatabase) -> None:
        self._run(f"DROP DATABASE IF EXISTS {database.name}")

    def _run(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(mariadb_connection()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())


STORES: dict[str, type[Store]] = {
    "sqlite": SQLiteStore,
    "postgresql": PostgreSQLStore,
    "mariadb": MariaDBStore,
}
