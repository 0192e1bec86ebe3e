"""What the sentences about gathering look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django_tasks_q import Actor, Gather, Worker, actor, get_message_id
from django_tasks_q.broker import Broker
from django_tasks_q.keeper.gathered import Gathered
from django_tasks_q.models import GatheredItem
from django_tasks_q.sql import Database
from tests.support.waiting import until

LONG = 3_600_000
"""Milliseconds that nothing waits for in a test."""


class Place:
    """Items in the database ``alias``, messages at a broker."""

    def __init__(self, alias: str, broker: Broker) -> None:
        self.alias = alias
        self.broker = broker
        self.runs: list[list[Any]] = []
        """What the actors of :meth:`declare` were given, in the order in which they were called."""
        self.ids: list[str | None] = []

    def declare(self, size: int = 3, wait: int = LONG, fails: Callable[[], bool] | None = None, **options: Any) -> Any:
        """An actor that gathers; ``fails`` says whether an attempt does."""

        def index(items: list[Any]) -> None:
            self.runs.append(items)
            self.ids.append(get_message_id())
            if fails is not None and fails():
                raise RuntimeError("asked to")

        options = {"min_backoff": 1, "max_backoff": 1, **options}
        made: Actor[[list[Any]], None] = actor(index, broker=self.broker, gather=Gather(size, wait), **options)
        return made

    @contextmanager
    def worker(self, **options: Any) -> Iterator[Worker]:
        """One that does nobody else's work."""
        worker = Worker(self.broker, worker_timeout=100, worker_threads=2, maintenance=False, **options)
        worker.start()
        try:
            yield worker
        finally:
            worker.stop(timeout=5_000)

    def work(self, number: int, seconds: float = 20) -> None:
        """Until so many runs have begun, and their items are gone where they have succeeded."""
        with self.worker():
            until(lambda: len(self.runs) >= number, seconds, lambda: f"only {self.runs}")

    def keep(self) -> None:
        """What a keeper does about items."""
        service = Gathered(self.broker, Database(self.alias), "me")
        service.work()
        service.close()

    @property
    def rows(self) -> Any:
        return GatheredItem.objects.using(self.alias).order_by("id")

    def waiting(self) -> int:
        """How many items nobody has taken."""
        return int(self.rows.filter(taken_by="").count())

    def is_empty(self) -> bool:
        return not self.rows.exists()
