"""A real worker in the process of a test."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections

from ..broker import Broker, get_broker
from ..errors import QueueJoinTimeout
from ..worker import Worker
from .stores import is_database

_POLL = 0.01
_STOP = 5_000


class UnsuitableTest(RuntimeError):
    """A worker in other threads cannot work for this test."""


class TaskWorker(Worker):
    """A worker that a test can wait for."""

    def wait(self, timeout: int = 10_000) -> None:
        """Wait until nothing is ready or running on the broker; delayed messages and retries may still wait.

        QueueJoinTimeout after ``timeout`` milliseconds, saying what is left.
        """
        deadline = time.monotonic() + timeout / 1000
        while left := self._left():
            if time.monotonic() >= deadline:
                raise QueueJoinTimeout(f"After {timeout} ms there is still work: {', '.join(left)}.")
            time.sleep(_POLL)

    def _left(self) -> list[str]:
        counts = [count for count in self.broker.counts() if count.ready or count.in_flight]
        left = [f"{count.queue_name} ({count.ready} ready, {count.in_flight} running)" for count in counts]
        return left or ([] if self.consumer.idle else ["unsettled messages"])


@contextmanager
def task_worker(*, worker_threads: int = 4) -> Iterator[TaskWorker]:
    """A :class:`Worker` on the process's broker, in threads, for a test that really commits; stopped in the end.

    It runs what the test sends; schedules are not for it.

    UnsuitableTest within ``TestCase``: other threads cannot see what its open transaction holds.
    """
    broker = get_broker()
    check_suitable(broker)
    worker = TaskWorker(broker, worker_timeout=100, worker_threads=worker_threads)
    with _nothing_scheduled():
        worker.start()
        try:
            yield worker
        finally:
            worker.stop(timeout=_STOP)


@contextmanager
def _nothing_scheduled() -> Iterator[None]:
    if not apps.ready:  # without Django nothing schedules
        yield
        return
    from ..keeper.scheduler import Scheduler  # the tables exist only once apps are ready

    before, Scheduler.is_off = Scheduler.is_off, True
    try:
        yield
    finally:
        Scheduler.is_off = before


def check_suitable(broker: Broker) -> None:
    """UnsuitableTest, saying what to do, unless threads can share this test's databases."""
    if not settings.configured:
        return
    connection: Any = connections[broker.using if is_database(broker) else DEFAULT_DB_ALIAS]
    try:
        connection.ensure_connection()
    except (RuntimeError, AssertionError) as error:  # what pytest-django and SimpleTestCase raise
        raise UnsuitableTest(_NEEDS_TRANSACTIONS) from error
    if any(connection.in_atomic_block for connection in connections.all(initialized_only=True)):
        raise UnsuitableTest(_NEEDS_TRANSACTIONS)
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        raise UnsuitableTest(_NEEDS_A_FILE.format(connection.alias))


_NEEDS_TRANSACTIONS = (
    "task_worker runs actors in threads of their own, which cannot see what the open transaction of a test holds: use "
    "TransactionTestCase or @pytest.mark.django_db(transaction=True). Within a transaction drain() runs them, on the "
    "test's own thread."
)

_NEEDS_A_FILE = (
    "task_worker runs actors in threads of their own, and SQLite in memory does not let several write. Give the tests' "
    'database a file: DATABASES["{}"]["TEST"] = {{"NAME": BASE_DIR / "tests.sqlite3"}}.'
)
