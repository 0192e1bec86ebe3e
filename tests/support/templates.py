"""Migrated databases, one of each vendor for a whole test run: those that tests use are copies.

Migrating takes seconds and a copy a moment. The first process of the run that needs one makes it.
"""

from __future__ import annotations

import itertools
import os
import shutil
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path

import psycopg

from tests.support import run
from tests.support.stores import (
    POSTGRES_URL,
    MariaDBStore,
    PostgreSQLStore,
    SQLiteStore,
    Store,
    mariadb_connection,
    migrate,
)

_numbers = itertools.count(1)


class Template(ABC):
    """A migrated database. ``name`` and that of a copy: as in ``DATABASES``."""

    def __init__(self, vendor: str, name: str) -> None:
        self.vendor = vendor
        self.name = name

    def make(self) -> Store:
        """A store on a copy, for :meth:`drop`."""
        name = f"{self.name}_{os.getpid()}_{next(_numbers)}"
        self.copy(name)
        return self._store(name)

    def copy(self, name: str) -> None:
        """Make a database like this one."""
        run.once(self.vendor, self._migrate)
        self._copy(name)

    def drop(self, store: Store) -> None:
        assert store.vendor == self.vendor
        self.remove(store.name)

    def clear_away(self) -> None:
        """At the end of the run."""
        if run.has(self.vendor):
            self.remove(self.name)

    def _migrate(self) -> None:
        self._create()
        migrate(self._store(self.name).url)

    @abstractmethod
    def remove(self, name: str) -> None:
        """Drop a database, whoever is connected to it. No matter when there is none."""

    @abstractmethod
    def _store(self, name: str) -> Store: ...

    @abstractmethod
    def _create(self) -> None:
        """An empty database for the migrations."""

    @abstractmethod
    def _copy(self, name: str) -> None: ...


class SQLiteTemplate(Template):
    def __init__(self) -> None:
        super().__init__("sqlite", str(run.FOLDER / "template.sqlite3"))

    def remove(self, name: str) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(name + suffix).unlink(missing_ok=True)

    def _store(self, name: str) -> SQLiteStore:
        return SQLiteStore(name)

    def _create(self) -> None:
        """The migrations create the file."""

    def _copy(self, name: str) -> None:
        shutil.copyfile(self.name, name)


class PostgreSQLTemplate(Template):
    def __init__(self) -> None:
        super().__init__("postgresql", run.NAME)

    def remove(self, name: str) -> None:
        self._administer(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _store(self, name: str) -> PostgreSQLStore:
        return PostgreSQLStore(name)

    def _create(self) -> None:
        self.remove(self.name)
        self._administer(f'CREATE DATABASE "{self.name}"')

    def _copy(self, name: str) -> None:
        self._administer(f'CREATE DATABASE "{name}" TEMPLATE "{self.name}"')

    def _administer(self, statement: str) -> None:
        with psycopg.connect(POSTGRES_URL, autocommit=True) as connection:
            connection.execute(statement)


class MariaDBTemplate(Template):
    def __init__(self) -> None:
        super().__init__("mariadb", run.NAME)

    def remove(self, name: str) -> None:
        with closing(mariadb_connection()) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")

    def _store(self, name: str) -> MariaDBStore:
        return MariaDBStore(name)

    def _create(self) -> None:
        self.remove(self.name)
        with closing(mariadb_connection()) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {self.name} CHARACTER SET utf8mb4")

    def _copy(self, name: str) -> None:
        """It knows no copies of databases: the tables as they were made, and what is in them."""
        with closing(mariadb_connection(self.name)) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW TABLES")
            tables = [table for (table,) in cursor.fetchall()]
            made = {}
            for table in tables:
                cursor.execute(f"SHOW CREATE TABLE {table}")
                made[table] = cursor.fetchone()[1]
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
            cursor.execute(f"USE {name}")
            cursor.execute("SET foreign_key_checks = 0")
            for table, statement in made.items():
                cursor.execute(statement)
                cursor.execute(f"INSERT INTO {table} SELECT * FROM {self.name}.{table}")


SQLITE, POSTGRESQL, MARIADB = SQLiteTemplate(), PostgreSQLTemplate(), MariaDBTemplate()
OF_VENDOR: dict[str, Template] = {template.vendor: template for template in (SQLITE, POSTGRESQL, MARIADB)}


def clear_away() -> None:
    """Leave nothing of this run."""
    for template in OF_VENDOR.values():
        template.clear_away()
    run.clear_away()
