"""What tells one message from another of the same actor."""

from __future__ import annotations

from django.test import Client

from django_tasks_q.brokers.database import DatabaseBroker
from tests.admin.pages import url
from tests.support.dead_letters import bury


def test_a_list_shows_the_beginning_of_the_arguments_escaped(admin: Client, broker: DatabaseBroker) -> None:
    charge = broker.actors["charge"]
    bury(broker, [charge.message(7, currency="<b>CHF</b>"), charge.message("x" * 500)])

    page = admin.get(url("deadletter_changelist")).content.decode()

    assert "[7] {&quot;currency&quot;" in page
    assert "<b>CHF" not in page
    assert "x" * 50 in page and "x" * 80 not in page
