"""Results across processes, and what becomes of them when these die."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from django_tasks_q import Message, ResultFailure, Worker, actor, set_broker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.brokers.stub.consumer import StubConsumer
from django_tasks_q.deliveries import Exchange, WorkerInfo
from django_tasks_q.errors import ConnectionClosed
from django_tasks_q.outcomes import HANDED_BACK
from django_tasks_q.results import Results
from django_tasks_q.results.backends import DatabaseBackend, StubBackend
from testproject import misbehave
from tests.support.runworkers import Trees
from tests.support.stores import Store
from tests.support.waiting import until


class CutOff(StubBroker):
    """Its first worker reaches it until it has something to settle."""

    def __init__(self) -> None:
        super().__init__()
        self.first: str | None = None
        self.is_cut, self.is_over = threading.Event(), threading.Event()

    def consume(self, worker: WorkerInfo) -> StubConsumer:
        consumer = super().consume(worker)
        if self.first is None:
            self.first, exchange = worker.worker_id, consumer.exchange

            def cut_off(settlements: Any, room: int, started: Any = ()) -> Exchange:
                if settlements and not self.is_over.is_set():
                    self.is_cut.set()
                    raise ConnectionClosed("cut off")
                return exchange(settlements, room, started)

            consumer.exchange = cut_off  # type: ignore[method-assign]
        return consumer


def test_a_worker_that_dies_between_result_and_settlement_loses_nothing_and_the_newer_result_counts() -> None:
    broker, backend = CutOff(), StubBackend()
    broker.add_middleware(Results(backend=backend, store_results=True))
    set_broker(broker)
    runs: list[None] = []

    def count() -> int:
        runs.append(None)
        return len(runs)

    message = actor(count, broker=broker).send()
    first, second = Worker(broker, worker_threads=1, worker_id="first"), Worker(broker, worker_threads=1)
    first.start()
    assert broker.is_cut.wait(10)
    assert backend.get_result(message) == 1
    broker.bury("first", [], lambda delivery, casualty: HANDED_BACK)
    second.start()
    until(lambda: backend.get_result(message) == 2)
    second.join()
    second.stop(5_000)
    broker.is_over.set()
    first.stop(1_000)
    assert backend.get_result(message) == 2
    assert [count.ready + count.in_flight for count in broker.counts()] == [0]


@pytest.mark.lifecycle
def test_results_and_deaths_of_worker_processes_come_back_to_who_waits_elsewhere(store: Store, trees: Trees) -> None:
    stored = {"store_results": True}
    echo = misbehave.echo.message({"n": 1}).copy(options=stored)
    deadly = misbehave.kill_self.message().copy(options={**stored, "delivery_limit": 2})
    tree = trees.start("-p", "1", "-t", "2")
    store.send([echo, deadly])
    backend = DatabaseBackend(using=store.alias, namespace="dtq:results")
    assert backend.get_result(echo, block=True) == {"n": 1}
    with pytest.raises(ResultFailure) as raised:
        backend.get_result(deadly, block=True, timeout=20_000)
    assert raised.value.orig_exc_type == "LostWorker", tree.story()
    assert tree.stop() == 0


def test_expired_results_are_pruned_in_batches(databases: None) -> None:
    backend = DatabaseBackend(using="postgresql")
    short, long = [Message[Any]("q", "a") for _ in range(30)], Message[Any]("q", "a")
    for message in short:
        backend.store_result(message, 1, ttl=1)
    backend.store_result(long, 2)
    until(lambda: backend._database.rows("SELECT count(*) FROM django_tasks_q_messageresult")[0][0] == 31)
    pruned = 0
    until(lambda: backend.prune(20) == 20)
    while number := backend.prune(20):
        pruned += number
    assert pruned == 10
    assert backend.get_result(long) == 2
