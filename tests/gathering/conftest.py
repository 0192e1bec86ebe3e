"""A broker of each kind, an actor on it that gathers, and the database that its items are in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from django_tasks_q import gathering
from django_tasks_q.gather import get_gathered_items, set_gathered_items
from django_tasks_q.middleware.database_connections import DatabaseConnections
from django_tasks_q.waiting import DatabaseGatheredItems
from tests.gathering.place import Place
from tests.support.brokers import open_broker

DATABASES = ["default", "postgresql", "mariadb"]
"""Where the items are; the database broker of each is in the same one."""

PLACES = [(alias, alias) for alias in DATABASES] + [
    ("default", "stub"),
    ("default", "redis"),
    ("postgresql", "rabbitmq"),
]
"""Databases, and kinds of brokers as ``open_broker`` knows them."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    given = {name for mark in metafunc.definition.iter_markers("parametrize") for name in mark.args[0]}
    if "place" in metafunc.fixturenames and "alias" not in given:
        metafunc.parametrize(("alias", "kind"), PLACES)


@pytest.fixture
def place(databases: None, alias: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(gathering._Rest, "until", 0.0)
    before = get_gathered_items()
    set_gathered_items(DatabaseGatheredItems(alias))
    with open_broker(kind) as broker:
        broker.add_middleware(DatabaseConnections())  # as the settings' broker has it
        yield Place(alias, broker)
        broker.close()
    set_gathered_items(before)
    connections.close_all()
