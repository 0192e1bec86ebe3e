"""Stores of results that are away, slow or choosy: what becomes of messages is none of their business."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from django_tasks_q import (
    Broker,
    BrokerConnectionError,
    BrokerError,
    Message,
    ResultFailure,
    Worker,
    actor,
    clock,
    set_broker,
)
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.deliveries import Result
from django_tasks_q.judge import make_judge
from django_tasks_q.keeper.mirror_service import MirrorService
from django_tasks_q.models import MessageRecord
from django_tasks_q.results import Missing, Results, post
from django_tasks_q.results.backends import RedisBackend, StubBackend
from django_tasks_q.results.post import ResultPost
from django_tasks_q.worker.board import Board
from tests.support.private_redis import PrivateRedis
from tests.support.waiting import until, within


class Moody(StubBackend):
    """A store that is away, does not answer, or does not like some results."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.answers = threading.Event()
        self.answers.set()
        self.dislikes: set[str] = set()
        self.reason: Exception = TypeError("I do not like it.")
        self.calls = 0

    def store(self, results: Sequence[Result], *, replace: bool = True) -> None:
        self.calls += 1
        self.answers.wait(20)
        if self.is_away:
            raise BrokerConnectionError("The store is away.")
        if self.dislikes & {result.key for result in results}:
            raise self.reason
        super().store(results, replace=replace)


@pytest.fixture
def store(stub: StubBroker) -> Moody:
    backend = Moody()
    stub.add_middleware(Results(backend=backend, store_results=True))
    set_broker(stub)
    return backend


def work_through(stub: StubBroker, number: int) -> tuple[list[Message[Any]], float, Worker]:
    """Messages that were all settled, how long that took, and the worker that goes on."""
    work = actor(lambda n: n, actor_name="work", broker=stub)
    messages = [work.send(n) for n in range(number)]
    worker = Worker(stub, worker_timeout=100, worker_threads=2)
    began = time.monotonic()
    worker.start()
    stub.join("default", timeout=20_000)
    return messages, time.monotonic() - began, worker


@pytest.mark.parametrize("trouble", ["away", "silent"])
def test_a_store_in_trouble_costs_a_second_at_most_and_gets_the_results_when_it_is_back(
    store: Moody, stub: StubBroker, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    if trouble == "away":
        store.is_away = True
    else:
        store.answers.clear()
    messages, seconds, worker = work_through(stub, 300)
    try:
        assert seconds < within(post.PATIENCE + 1.5)
        assert store.peek(messages[:1]) == [Missing]
        store.is_away = False
        store.answers.set()
        until(lambda: store.peek(messages) == list(range(300)), 15)
    finally:
        worker.stop(5_000)
    said = [record.getMessage() for record in caplog.records if "Results" in record.getMessage()]
    assert len(said) == 2 and "cannot be stored" in said[0] and "stored again" in said[1]


@pytest.mark.parametrize("reason", [TypeError("I do not like it."), BrokerError("ERR I do not like it.")])
def test_what_a_store_does_not_take_does_not_take_others_along(
    store: Moody, stub: StubBroker, caplog: pytest.LogCaptureFixture, reason: Exception
) -> None:
    store.reason = reason
    work = actor(lambda n: n, actor_name="work", broker=stub)
    messages = [work.send(n) for n in range(20)]
    store.dislikes = {store.build_message_key(messages[7])}
    worker = Worker(stub, worker_timeout=100, worker_threads=2)
    worker.start()
    stub.join("default", timeout=10_000)
    worker.stop(5_000)
    assert store.peek(messages) == [Missing if n == 7 else n for n in range(20)]
    assert messages[7].message_id in caplog.text


def test_a_store_that_stays_away_is_kept_little_for(
    store: Moody, stub: StubBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(post, "MOST_BYTES", 1_000)
    store.is_away = True
    way = ResultPost(stub)
    for number in range(100):
        way.bring([Result(f"key{number}", b"x" * 100, 60_000)])
    store.is_away = False
    until(lambda: "key99" in store._kept, 15)
    assert len(store._kept) == 10
    way.close()
    until(lambda: "90 had to be dropped" in caplog.text)


def test_what_is_late_does_not_replace_what_came_meanwhile(store: Moody, stub: StubBroker) -> None:
    store.is_away = True
    way = ResultPost(stub)
    way.bring([Result("key", b"old", 60_000)])
    StubBackend.store(store, [Result("key", b"new", 60_000)])
    way.bring([Result("other", b"x", 60_000)])
    store.is_away = False
    until(lambda: store.load(["other"]), 15)
    assert store.load(["key"]) == {"key": b"new"}
    way.close()


def test_who_ends_when_his_lease_is_over_does_not_replace_the_result_of_who_has_run_the_message_since(
    store: Moody, stub: StubBroker
) -> None:
    # Given a worker in the middle of a message, which is declared dead
    entered, go, results = threading.Event(), threading.Event(), iter(["old", "new"])

    def work() -> str:
        result = next(results)
        if result == "old":
            entered.set()
            go.wait(20)
        return result

    message = actor(work, broker=stub).send()
    region = Board(1, 1).regions[0]
    region.assign("late", 1)
    late = Worker(stub, worker_timeout=100, worker_threads=1, worker_id="late", region=region, duties=False)
    other = Worker(stub, worker_timeout=100, worker_threads=1)
    late.start()
    assert entered.wait(10)
    region.set_lease(clock.monotonic())
    stub.bury("late", [], make_judge(stub))

    # When another one has run it, and then the first one ends
    other.start()
    assert message.get_result(block=True, timeout=10_000) == "new"
    go.set()
    late.stop(5_000)
    other.stop(5_000)

    # Then the result is that of the other one
    assert message.get_result() == "new"


def test_who_ends_when_his_lease_may_be_over_and_still_has_his_messages_stores_their_results(
    store: Moody, stub: StubBroker
) -> None:
    region = Board(1, 1).regions[0]
    region.assign("slow", 1)

    def work() -> str:
        region.set_lease(clock.monotonic())
        return "done"

    message = actor(work, broker=stub).send()
    worker = Worker(stub, worker_timeout=100, worker_threads=1, worker_id="slow", region=region, duties=False)
    worker.start()
    assert message.get_result(block=True, timeout=10_000) == "done"
    worker.stop(5_000)


def test_a_worker_that_stops_waits_a_second_for_the_results_that_are_left_and_says_what_is_lost(
    store: Moody, stub: StubBroker, caplog: pytest.LogCaptureFixture
) -> None:
    store.is_away = True
    _, _, worker = work_through(stub, 30)
    began = time.monotonic()
    worker.stop(10_000)
    assert time.monotonic() - began < within(4)
    assert "results are lost" in caplog.text


def test_without_results_nobody_asks_the_store(store: Moody, stub: StubBroker) -> None:
    quiet = actor(lambda: None, actor_name="quiet", broker=stub, store_results=False)
    for _ in range(10):
        quiet.send()
    worker = Worker(stub, worker_timeout=100, worker_threads=2)
    worker.start()
    stub.join("default", timeout=10_000)
    assert not any(thread.name == "ResultPost" for thread in threading.enumerate())
    worker.stop(5_000)
    assert store.calls == 0


def test_a_redis_that_restarts_while_somebody_waits_wakes_him_all_the_same() -> None:
    message: Message[Any] = Message("default", "work")
    with PrivateRedis() as server:
        reading, storing = RedisBackend(url=server.url), RedisBackend(url=server.url)
        found: list[Any] = []
        waiting = threading.Thread(target=lambda: found.append(reading.get_result(message, block=True, timeout=20_000)))
        waiting.start()
        server.kill()
        with pytest.raises(BrokerConnectionError):
            storing.store_result(message, 1)
        server.start()
        storing.store_result(message, 2)
        waiting.join(15)
        reading.close()
        storing.close()
    assert found == [2]


def test_a_redis_that_is_full_refuses_the_result_and_not_the_task(stub: StubBroker) -> None:
    with PrivateRedis() as server:
        backend = RedisBackend(url=server.url, socket_timeout=2)
        set_broker(stub)
        stub.add_middleware(Results(backend=backend, store_results=True))
        server.config_set("maxmemory", 1)
        messages, seconds, worker = work_through(stub, 5)
        assert seconds < within(post.PATIENCE + 1.5)
        server.config_set("maxmemory", 0)
        until(lambda: backend.peek(messages) == list(range(5)), 15)
        worker.stop(5_000)
        backend.close()


def test_a_failure_survives_a_store_that_cannot_hold_its_text(
    store: Moody, stub: StubBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1, "django_tasks_q.worker")  # no process can tell another its text

    def fail() -> None:
        raise ValueError("\ud800" + "x" * 100_000)

    message = actor(fail, broker=stub, max_retries=0).send()
    worker = Worker(stub, worker_timeout=100, worker_threads=1)
    worker.start()
    with pytest.raises(ResultFailure) as raised:
        message.get_result(block=True)
    worker.stop(5_000)
    assert raised.value.orig_exc_type == "ValueError" and len(raised.value.orig_exc_msg) <= 2_000


# What the records say


def recorded(broker: Broker, message: Message[Any]) -> MessageRecord:
    """What is recorded of a message that has ended, once it is."""

    def has_ended() -> bool:
        MirrorService(broker, "mirror").work()
        record = MessageRecord.objects.filter(pk=message.message_id).first()
        return record is not None and record.state == "succeeded"

    until(has_ended)
    return MessageRecord.objects.get(pk=message.message_id)


@pytest.mark.parametrize("trouble", ["none", "odd", "unencodable", "away"])
def test_a_result_that_cannot_be_stored_is_told_of_by_the_record_of_the_message(
    store: Moody, stub: StubBroker, databases: None, trouble: str
) -> None:
    message = actor(lambda: object() if trouble == "unencodable" else 1, actor_name="work", broker=stub).send()
    other = actor(lambda: 1, actor_name="other", broker=stub).send()
    store.is_away = trouble == "away"
    if trouble == "odd":
        store.dislikes = {store.build_message_key(message)}
    worker = Worker(stub, worker_timeout=100, worker_threads=2)
    worker.start()
    try:
        record = recorded(stub, message)
        if trouble != "away":
            assert recorded(stub, other).error_type == ""
    finally:
        worker.stop(5_000)
    said = {
        "none": ("", ""),
        "odd": ("ResultError", "The result is not stored: I do not like it."),
        "unencodable": ("EncodeError", "The result is not stored: result is of type object"),
        "away": ("ResultError", "The result is not stored: The store is away. It is stored when that works again."),
    }[trouble]
    assert record.error_type.endswith(said[0]) and record.error_message.startswith(said[1])
    assert bool(record.error_type) == (trouble != "none") and not record.attempts.exists()
