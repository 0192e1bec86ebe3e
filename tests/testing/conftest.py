"""Brokers that tests of the test helpers run on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_tasks_q import set_broker
from django_tasks_q.broker import Broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.configured import make_middleware
from django_tasks_q.testing import capture

DATABASES = ["default", "postgresql", "mariadb"]


@pytest.fixture(params=["captured", *DATABASES])
def broker(request: pytest.FixtureRequest, db: None) -> Iterator[Broker]:
    """The stand-in, and the database brokers within a test's transaction; each with the settings' middleware."""
    if request.param == "captured":
        with capture() as stand_in:
            yield stand_in
    else:
        broker = DatabaseBroker(using=request.param, middleware=make_middleware())
        set_broker(broker)
        yield broker


@pytest.fixture(params=DATABASES)
def database_broker(request: pytest.FixtureRequest, db: None) -> DatabaseBroker:
    broker = DatabaseBroker(using=request.param, middleware=make_middleware())
    set_broker(broker)
    return broker
