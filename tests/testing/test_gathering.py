"""Gathered items in the tests of projects."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import TestCase

from django_tasks_q import Gather, actor
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.models import GatheredItem
from django_tasks_q.testing import capture, drain, immediate, on_commit

LONG = 3_600_000

ran: list[list[Any]] = []


def declare(**options: Any) -> Any:
    ran.clear()

    def index(items: list[Any]) -> None:
        ran.append(items)

    return actor(index, gather=Gather(size=2, wait=LONG), **options)


class ATestCase(TestCase):
    """Whose transaction never commits."""

    @capture()
    def test_what_is_captured_is_drained_on_its_connection(self) -> None:
        index = declare()
        with on_commit():
            index.gather(1)
        self.assertEqual(drain(), [])

        drain(with_delayed=True)

        self.assertEqual(ran, [[1]])
        self.assertFalse(GatheredItem.objects.exists())

    @immediate()
    def test_what_is_enough_for_a_run_has_run_at_the_commit(self) -> None:
        index = declare()
        with on_commit():
            index.gather_many([1, 2, 3])
            self.assertEqual(ran, [])

        self.assertEqual(ran, [[1, 2], [3]])

    def test_the_database_broker_is_drained_too(self) -> None:
        broker = DatabaseBroker()
        index = declare(broker=broker)
        with on_commit():
            index.gather(1)

        drain(broker=broker, with_delayed=True)

        self.assertEqual(ran, [[1]])
        self.assertFalse(GatheredItem.objects.exists())


def test_the_sender_gets_the_error_of_a_run_at_once(databases: None) -> None:
    with immediate():

        @actor(gather=Gather(size=1, wait=LONG))
        def divide(items: list[Any]) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            divide.gather(1)
