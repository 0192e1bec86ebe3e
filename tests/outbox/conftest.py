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


@pytest.fixture(autouse=True)
def outbox() -> Iterator[DatabaseOutbox]:
    """One for each test: it remembers for a moment that a broker was away."""
    before = get_outbox()
    outbox = DatabaseOutbox()
    set_outbox(outbox)
    yield outbox
    set_outbox(before)


@pytest.fixture(params=["default", "postgresql", "mariadb"])
def alias(request: pytest.FixtureRequest) -> str:
    """The database of the transactions."""
    return str(request.param)


@pytest.fixture(params=BROKERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(databases: None, alias: str, kind: str) -> Iterator[Place]:
    with open_broker(Place.other(alias) if kind == "database" else kind) as broker:
        note: Actor[[int], None] = actor(lambda number: None, actor_name="note", broker=broker)
        yield Place(alias, broker, note)
        broker.close()
    connections.close_all()
