"""A broker of each kind, and transactions on a database that it is no part of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from django_tasks_q import Actor, actor
from django_tasks_q.outbox import get_outbox, set_outbox
from django_tasks_q.waiting import DatabaseOutbox
from tests.outbox.place import Place
from tests.support.brokers import open_broker

BROKERS = ["database", "journal", "room-default", "redis", "rabbitmq"]
"""Kinds as ``open_broker`` knows them; ``database`` is in the database that the transactions are not in."""


ALIASES = ["default", "postgresql", "mariadb"]
"""The databases of the transactions."""

PAIRS = [("default", kind) for kind in BROKERS] + [(alias, "database") for alias in ALIASES[1:]]
"""Rows know nothing of brokers, nor brokers of rows: each with one of the others is enough."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    given = {name for mark in metafunc.definition.iter_markers("parametrize") for name in mark.args[0]}
    if {"alias", "kind"} <= given:
        return
    if {"alias", "kind"} <= set(metafunc.fixturenames):
        metafunc.parametrize(("alias", "kind"), PAIRS, indirect=True)
    elif "alias" in metafunc.fixturenames:
        metafunc.parametrize("alias", ALIASES, indirect=True)


@pytest.fixture(autouse=True)
def outbox() -> Iterator[DatabaseOutbox]:
    """One for each test: it remembers for a moment that a broker was away."""
    before = get_outbox()
    outbox = DatabaseOutbox()
    set_outbox(outbox)
    yield outbox
    set_outbox(before)


@pytest.fixture
def alias(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(databases: None, alias: str, kind: str) -> Iterator[Place]:
    with open_broker(Place.other(alias) if kind == "database" else kind) as broker:
        note: Actor[[int], None] = actor(lambda number: None, actor_name="note", broker=broker)
        yield Place(alias, broker, note)
        broker.close()
    connections.close_all()
