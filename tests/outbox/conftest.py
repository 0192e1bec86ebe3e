"""A broker on one database and transactions on another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from django_tasks_q import Actor, actor
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.outbox import get_outbox, set_outbox
from django_tasks_q.waiting import DatabaseOutbox
from tests.outbox.place import Place


@pytest.fixture(autouse=True)
def outbox() -> Iterator[DatabaseOutbox]:
    """One for each test: it remembers for a moment that a broker was away."""
    before = get_outbox()
    outbox = DatabaseOutbox()
    set_outbox(outbox)
    yield outbox
    set_outbox(before)


@pytest.fixture(params=["default", "postgresql"])
def alias(request: pytest.FixtureRequest) -> str:
    """The database of the transactions."""
    return str(request.param)


@pytest.fixture
def place(databases: None, alias: str) -> Iterator[Place]:
    """A database broker that lives in the other database than the transactions do."""
    broker = DatabaseBroker(using=Place.other(alias))
    note: Actor[[int], None] = actor(lambda number: None, actor_name="note", broker=broker)
    yield Place(alias, broker, note)
    broker.close()
    connections.close_all()
