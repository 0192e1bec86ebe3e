"""Schedulers on every database, by a clock that the tests set, with brokers in that database and elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from django.db import connections
from django.test import override_settings

from django_tasks_q import Actor, actor, set_broker
from django_tasks_q.broker import Broker
from django_tasks_q.keeper.scheduler import Scheduler
from django_tasks_q.models import ScheduleEntry, ScheduleRun
from django_tasks_q.outbox import get_outbox, set_outbox
from django_tasks_q.schedules.rows import ScheduleRows, Standing
from django_tasks_q.sql import Database
from django_tasks_q.waiting import DatabaseOutbox
from tests.support.brokers import open_broker

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NOON = 1_780_315_200_000
"""2026-06-01 12:00 UTC."""


class Clock:
    """What the scheduler takes for the time of its database, in epoch milliseconds."""

    now = NOON


class ClockedRows(ScheduleRows):
    """Rows whose time is that of a clock."""

    clock: Clock

    def standing(self) -> Standing:
        return super().standing()._replace(now=self.clock.now)


class Place(NamedTuple):
    """A broker, the database of the schedules, and their time."""

    broker: Broker
    database: Database
    clock: Clock
    make: Callable[..., Scheduler]

    def actor(self, name: str = "tick", **options: Any) -> Actor[..., None]:
        def run(*args: Any, **kwargs: Any) -> None: ...

        declared: Actor[..., None] = actor(run, actor_name=name, broker=self.broker, **options)
        return declared

    @property
    def entries(self) -> Any:
        return ScheduleEntry.objects.using(self.database.alias)

    @property
    def runs(self) -> Any:
        return ScheduleRun.objects.using(self.database.alias)

    def slots(self, name: str = "tick") -> list[int]:
        """The slots that have a row, in epoch milliseconds."""
        return [round(at.timestamp() * 1000) for at in self.slots_of(name)]

    def slots_of(self, name: str) -> list[Any]:
        return list(self.runs.filter(entry=name).order_by("slot").values_list("slot", flat=True))

    def sent(self) -> list[str]:
        """The ids of the messages that the broker has."""
        return [delivery.message_id for delivery in self.broker.peek("default", "ready", 1_000)]

    def sent_for(self, name: str = "tick") -> list[str]:
        """The ids that the rows of an entry name, in the order of their slots."""
        return list(self.runs.filter(entry=name).order_by("slot").values_list("message_id", flat=True))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def outbox() -> Iterator[None]:
    before = get_outbox()
    set_outbox(DatabaseOutbox())
    yield
    set_outbox(before)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "default"))


@pytest.fixture
def place(databases: None, kind: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """On the database that the broker is; for a broker elsewhere on the default one."""
    alias = kind if kind in connections.settings else "default"
    database = Database(alias)
    monkeypatch.setattr("django_tasks_q.keeper.scheduler.ScheduleRows", ClockedRows)
    monkeypatch.setattr(ClockedRows, "clock", clock, raising=False)
    with open_broker(kind) as broker:
        set_broker(broker)
        broker.declare_queue("default")
        yield Place(broker, database, clock, lambda owner="one": Scheduler(broker, database, owner))
        broker.close()
    connections.close_all()


@pytest.fixture
def schedules() -> Iterator[Callable[..., None]]:
    """Set ``SCHEDULES`` for the rest of a test."""
    settings = []

    def schedules(**entries: Any) -> None:
        settings.append(override_settings(DJANGO_TASKS_Q={"SCHEDULES": entries}))
        settings[-1].enable()

    yield schedules
    for override in reversed(settings):
        override.disable()
