"""Workers for tests of what happens inside one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from django_tasks_q import Worker, actor
from django_tasks_q.broker import Broker
from django_tasks_q.brokers.stub import StubBroker


@contextmanager
def running(broker: Broker, **options: Any) -> Iterator[Worker]:
    worker = Worker(broker, **{"worker_timeout": 100, "worker_threads": 2, **options})
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(timeout=5_000)


@pytest.fixture
def work() -> Callable[..., AbstractContextManager[Worker]]:
    """``with work(broker):`` has a worker run what is sent, and stops it in the end."""
    return running


@pytest.fixture
def run(stub: StubBroker) -> Callable[..., None]:
    """Run everything that waits on the stub broker, retries included, until nothing does."""

    def run_all(timeout: int = 10_000) -> None:
        with running(stub):
            stub.join("default", timeout=timeout, fail_fast=False)

    return run_all


@pytest.fixture
def declare(stub: StubBroker) -> Callable[..., Any]:
    """Declare a function as an actor of the stub broker that retries at once."""

    def declare_on_stub(fn: Callable[..., Any], **options: Any) -> Any:
        return actor(fn, broker=stub, **{"min_backoff": 0, "max_backoff": 0, **options})

    return declare_on_stub
