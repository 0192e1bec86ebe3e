"""The database broker on each vendor, as the process's own, with two actors to send for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_tasks_q import actor, set_broker
from django_tasks_q.broker import Broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.models import BulkOperation, QueueState, WorkerProcess


@pytest.fixture(params=["default", "postgresql", "mariadb"])
def broker(request: pytest.FixtureRequest, databases: None) -> Iterator[DatabaseBroker]:
    broker = DatabaseBroker(using=request.param)
    set_broker(broker)
    declare(broker)
    yield broker
    for model in (BulkOperation, QueueState, WorkerProcess):
        model.objects.using(broker.using).all().delete()
    broker.close()


def declare(broker: Broker) -> None:
    def charge(order: int, currency: str = "EUR") -> None: ...

    def mail(address: str) -> None: ...

    actor(charge, broker=broker, queue_name="shop")
    actor(mail, broker=broker, queue_name="mails")
