"""From what an actor returns to who asks for it: the whole way, through a real worker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.test import override_settings

from django_tasks_q import (
    Actor,
    Broker,
    Encoder,
    Message,
    MessageProxy,
    Middleware,
    ResultFailure,
    ResultMissing,
    ResultTimeout,
    Retry,
    SkipMessage,
    Worker,
    actor,
    pipeline,
    set_broker,
)
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.deliveries import Casualty, WorkerInfo
from django_tasks_q.judge import make_judge
from django_tasks_q.results import Missing, Results, get_result_backend
from django_tasks_q.results.backends import DatabaseBackend, RedisBackend, StubBackend
from django_tasks_q.testing import capture, drain, immediate
from tests.support.brokers import open_broker
from tests.support.redis_brokers import redis_broker
from tests.support.waiting import until


@contextmanager
def working(broker: Broker, **options: Any) -> Iterator[Worker]:
    worker = Worker(broker, worker_timeout=100, **{"worker_threads": 2, **options})
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(5_000)


@pytest.fixture
def store(stub: StubBroker) -> StubBackend:
    """Where the stub, which is the process's broker, stores results."""
    backend = StubBackend()
    stub.add_middleware(Results(backend=backend))
    set_broker(stub)
    return backend


def declare(fn: Callable[..., Any], **options: Any) -> Actor[Any, Any]:
    return actor(fn, **{"store_results": True, "max_retries": 0, **options})  # type: ignore[call-overload,no-any-return]


def wait_for(message: Message[Any]) -> Any:
    return message.get_result(block=True, timeout=10_000)


# What becomes a result


@pytest.mark.parametrize("kind", ["stub", "default", "postgresql", "mariadb", "redis", "redis-cluster", "rabbitmq"])
def test_a_result_and_a_failure_come_back_on_every_broker(kind: str, databases: None) -> None:
    with open_broker(kind) as broker:
        set_broker(broker)
        broker.add_middleware(Results())

        def divide(a: int, b: int) -> float:
            return a / b

        division = declare(divide)
        good, bad = division.send(6, 3), division.send(6, 0)
        with working(broker):
            assert wait_for(good) == 2
            with pytest.raises(ResultFailure) as raised:
                wait_for(bad)
        assert raised.value.orig_exc_type == "ZeroDivisionError"
        assert "return a / b" in raised.value.traceback
        assert good.get_result() == 2
        backend = broker.get_results_backend()
        backend.forget(good, bad)
        if isinstance(backend, RedisBackend):
            backend.close()


def test_nothing_is_stored_that_nobody_asked_for(store: StubBackend, stub: StubBroker) -> None:
    quiet, loud = declare(lambda: 1, actor_name="quiet", store_results=False), declare(lambda: 2, actor_name="loud")
    messages = [
        quiet.send(),
        quiet.send_with_options(store_results=True),
        loud.send_with_options(store_results=False),
        loud.send(),
    ]
    drain(broker=stub)
    assert store.peek(messages) == [Missing, 1, Missing, 2]


def test_the_middleware_may_store_the_results_of_all(stub: StubBroker) -> None:
    backend = StubBackend()
    stub.add_middleware(Results(backend=backend, store_results=True))
    message = actor(lambda: 7, actor_name="work", broker=stub).send()
    drain(broker=stub)
    assert backend.get_result(message) == 7
    assert stub.get_results_backend() is backend


@pytest.mark.parametrize("ttl", [80, timedelta(milliseconds=80)])
def test_a_result_lasts_as_long_as_the_message_the_actor_or_the_middleware_says(
    store: StubBackend, stub: StubBroker, ttl: Any
) -> None:
    by_actor = declare(lambda: 1, actor_name="short", result_ttl=ttl).send()
    by_message = declare(lambda: 2, actor_name="long").send_with_options(result_ttl=ttl)
    lasting = stub.actors["long"].send()
    drain(broker=stub)
    until(lambda: store.peek([by_actor, by_message]) == [Missing, Missing])
    assert store.get_result(lasting) == 2


def test_a_skipped_message_has_the_result_none(store: StubBackend, stub: StubBroker) -> None:
    class Skip(Middleware):
        def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
            raise SkipMessage("not today")

    stub.add_middleware(Skip())
    message = declare(lambda: 1, actor_name="work").send()
    drain(broker=stub)
    assert store.peek([message]) == [None]


def test_a_message_that_is_too_old_has_a_failure_that_says_so(store: StubBackend, stub: StubBroker) -> None:
    work = declare(lambda: 1, actor_name="work", max_age=1)
    message = stub.enqueue(Message("default", "work", message_timestamp=1, options={}))
    drain(broker=stub, raise_errors=False)
    with pytest.raises(ResultFailure, match="age limit"):
        message.get_result()
    assert work.options["max_age"] == 1


def test_a_failed_attempt_that_is_repeated_has_no_result_yet(store: StubBackend, stub: StubBroker) -> None:
    seen: list[Any] = []
    messages: list[Message[Any]] = []

    def work() -> str:
        seen.append(store.peek(messages))
        if len(seen) < 3:
            raise Retry(delay=0)
        return "at last"

    messages.append(declare(work, max_retries=5).send())
    drain(broker=stub, with_delayed=True)
    assert seen == [[Missing]] * 3
    assert store.peek(messages) == ["at last"]


def test_a_new_life_has_a_new_result(store: StubBackend, stub: StubBroker) -> None:
    lives: list[None] = []

    def work() -> int:
        lives.append(None)
        return 1 // (len(lives) - 1)

    message = declare(work).send()
    drain(broker=stub, raise_errors=False)
    with pytest.raises(ResultFailure):
        message.get_result()
    stub.requeue([message.message_id])
    drain(broker=stub)
    assert message.get_result() == 1


def test_the_place_in_the_stack_does_not_matter() -> None:
    for options in ({"before": Middleware}, {}):
        broker, backend = StubBroker(), StubBackend()
        broker.add_middleware(Results(backend=backend, store_results=True), **options)  # type: ignore[arg-type]
        failing = actor(lambda: 1 // 0, actor_name="work", broker=broker, max_retries=1)
        message = failing.send()
        drain(broker=broker, raise_errors=False)
        assert backend.peek([message]) == [Missing]
        drain(broker=broker, raise_errors=False, with_delayed=True)
        assert isinstance(backend.peek([message])[0], ResultFailure)


# What cannot become one


def test_a_result_that_cannot_be_encoded_leaves_the_outcome_and_tells_who_asks_where(
    store: StubBackend, stub: StubBroker, caplog: pytest.LogCaptureFixture
) -> None:
    message = declare(lambda: {"user": [1, object()]}, actor_name="work").send()
    [ran] = drain(broker=stub)
    assert ran.state == "succeeded"
    with pytest.raises(ResultFailure, match=r"result\.user\[1\] is of type object") as raised:
        message.get_result()
    assert raised.value.orig_exc_type == "EncodeError"
    assert "work" in caplog.text and "result.user[1]" in caplog.text


def test_a_huge_result_leaves_the_outcome_and_is_not_stored(store: StubBackend, stub: StubBroker) -> None:
    stub.max_message_bytes = 1_000
    message = declare(lambda: "x" * 2_000, actor_name="work").send()
    [ran] = drain(broker=stub)
    assert ran.state == "succeeded"
    with pytest.raises(ResultFailure, match="MAX_MESSAGE_BYTES") as raised:
        message.get_result()
    assert raised.value.orig_exc_type == "MessageTooLarge"


class Poisoned(Encoder):
    def encode(self, data: dict[str, Any]) -> bytes:
        raise RuntimeError("people's code")

    def decode(self, data: bytes) -> dict[str, Any]:
        raise NotImplementedError


def test_an_encoder_that_fails_at_everything_takes_no_message_along(stub: StubBroker) -> None:
    stub.add_middleware(Results(backend=StubBackend(encoder=Poisoned()), store_results=True))
    actor(lambda: 1, actor_name="work", broker=stub).send()
    [ran] = drain(broker=stub)
    assert ran.state == "succeeded"


def test_no_result_is_ever_logged(store: StubBackend, stub: StubBroker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    declare(lambda: "secret", actor_name="work").send()
    declare(lambda: {"secret": object()}, actor_name="unstorable").send()
    with working(stub):
        stub.join("default", timeout=5_000)
    assert "secret'" not in caplog.text and '"secret"' not in caplog.text


def test_a_value_that_nobody_gets_is_worth_one_warning(
    store: StubBackend, stub: StubBroker, caplog: pytest.LogCaptureFixture
) -> None:
    lost = declare(lambda: 1, actor_name="lost", store_results=False)
    stored, piped, none = (
        declare(lambda *args: 2, actor_name="stored"),
        declare(lambda *args: 3, actor_name="piped", store_results=False),
        declare(lambda: None, actor_name="none", store_results=False),
    )
    pipeline([piped.message(), stored.message()]).run()
    for _ in range(3):
        lost.send()
        none.send()
    drain(broker=stub)
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "lost" in warning.getMessage() and "store_results" in warning.getMessage()


# Deaths that no hook sees


def test_who_waits_for_an_actor_that_nobody_knows_is_told(store: StubBackend, stub: StubBroker) -> None:
    message = stub.enqueue(Message("default", "nobody"))
    with working(stub, unknown_actor_grace=0), pytest.raises(ResultFailure, match="nobody") as raised:
        wait_for(message)
    assert raised.value.orig_exc_type == "ActorNotFound"


def test_who_waits_for_a_message_that_nobody_can_read_is_told(store: StubBackend, stub: StubBroker) -> None:
    message = Message("default", "work")
    outgoing = stub.prepare(message)
    stub.publish([type(outgoing)(message, b"{")])
    with working(stub), pytest.raises(ResultFailure) as raised:
        wait_for(message)
    assert raised.value.orig_exc_type == "DecodeError"


def test_who_waits_for_a_message_that_kills_its_workers_is_told(store: StubBackend, stub: StubBroker) -> None:
    message = declare(lambda: 1, actor_name="work").send()
    judge = make_judge(stub)
    for number in range(1, 4):
        name = f"worker{number}"
        consumer = stub.consume(WorkerInfo(name, suspects=number == 3))
        [delivery] = consumer.exchange([], 1).deliveries
        stub.bury(name, [Casualty(delivery.message_id, delivery.number, "lost", 1, "it was killed")], judge)
        consumer.close(give_back=False)
        if number < 3:
            assert store.peek([message]) == [Missing]
    with pytest.raises(ResultFailure, match="it was killed") as raised:
        wait_for(message)
    assert raised.value.orig_exc_type == "LostWorker"


def test_who_waits_for_a_message_that_was_revoked_and_ended_with_its_process_is_told(
    store: StubBackend, stub: StubBroker
) -> None:
    message = declare(lambda: 1, actor_name="work").send()
    consumer = stub.consume(WorkerInfo("worker"))
    [delivery] = consumer.exchange([], 1).deliveries

    stub.bury("worker", [Casualty(message.message_id, delivery.number, "revoked", 1, "ended")], make_judge(stub))

    consumer.close(give_back=False)
    with pytest.raises(ResultFailure, match="ended") as raised:
        wait_for(message)
    assert raised.value.orig_exc_type == "MessageRevoked"


# Pipelines


def test_a_pipeline_knows_the_results_of_its_steps(store: StubBackend, stub: StubBroker) -> None:
    add = declare(lambda a, b: a + b, actor_name="add")
    pipe = pipeline([add.message(1, 2), add.message(10), add.message(100)])
    assert (pipe.completed, pipe.completed_count) == (False, 0)
    with pytest.raises(ResultMissing):
        pipe.get_result()
    with pytest.raises(ResultTimeout):
        pipe.get_result(block=True, timeout=20)
    with working(stub):
        pipe.run()
        assert pipe.get_result(block=True, timeout=10_000) == 113
    assert (pipe.completed, pipe.completed_count) == (True, 3)
    assert list(pipe.get_results()) == [3, 13, 113]


def test_who_waits_for_the_end_of_a_pipeline_hears_of_the_step_that_failed(
    store: StubBackend, stub: StubBroker
) -> None:
    divide = declare(lambda a, b: a // b, actor_name="divide")
    pipe = pipeline([divide.message(6, 2), divide.message(0), divide.message(1)])
    with working(stub):
        pipe.run()
        with pytest.raises(ResultFailure) as raised:
            pipe.get_result(block=True, timeout=10_000)
    assert raised.value.orig_exc_type == "ZeroDivisionError"
    assert (pipe.completed, pipe.completed_count) == (True, 3)


# One transaction


def test_with_the_database_broker_a_result_and_its_settlement_are_one_transaction(databases: None) -> None:
    broker = DatabaseBroker(using="postgresql")
    set_broker(broker)
    backend = DatabaseBackend(using="postgresql")
    broker.add_middleware(Results(backend=backend))
    assert broker.carries_results()
    message = declare(lambda: 1, actor_name="work").send()
    states: list[Any] = []
    broker.database.watch = lambda sql: states.append(sql)
    with working(broker):
        assert wait_for(message) == 1
        until(lambda: broker.look_up([message.message_id]) == {})
    # what was said between the beginning and the end of the transaction that stored the result
    stored = next(index for index, sql in enumerate(states) if "messageresult" in sql and sql.startswith("INSERT"))
    begin = max(index for index, sql in enumerate(states[:stored]) if sql.startswith("BEGIN"))
    commit = next(index for index, sql in enumerate(states[stored:], stored) if sql == "COMMIT")
    assert any("DELETE" in sql and "queuedmessage" in sql for sql in states[begin:commit])
    broker.close()


@pytest.mark.parametrize("using", ["default", "postgresql", "mariadb"])
def test_a_result_that_the_database_refuses_does_not_keep_its_message_from_ending(
    using: str, databases: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from django_tasks_q.results.backends import rows

    broker = DatabaseBroker(using=using)
    set_broker(broker)
    broker.add_middleware(Results(backend=DatabaseBackend(using=using)))
    message = declare(lambda: 1, actor_name="work").send()
    monkeypatch.setattr(rows, "TABLE", "django_tasks_q_nosuchtable")
    with working(broker):
        until(lambda: broker.look_up([message.message_id]) == {})
    record = message.record()
    assert record.state == "succeeded" and "The result is not stored" in record.error_message
    assert "without" in caplog.text or "with their results" in caplog.text
    broker.close()


@pytest.mark.parametrize("using", ["postgresql", "mariadb"])
def test_within_a_transaction_who_waits_sees_what_others_store_meanwhile(using: str, databases: None) -> None:
    message: Message[Any] = Message("default", "work")
    backend = DatabaseBackend(using=using)

    def store() -> None:
        backend.store_result(message, 1)
        backend.release_thread()

    with transaction.atomic(using=backend.using):
        with pytest.raises(ResultMissing):
            backend.get_result(message)
        thread = threading.Thread(target=store)
        thread.start()
        assert backend.get_result(message, block=True, timeout=10_000) == 1
        thread.join()


# Where results are kept


def test_the_backend_is_the_brokers_store_unless_the_settings_name_another() -> None:
    set_broker(DatabaseBroker(using="postgresql"))
    assert get_result_backend().address == "database://postgresql"
    assert get_result_backend() is get_result_backend()
    set_broker(StubBroker())
    assert isinstance(get_result_backend(), StubBackend)
    with redis_broker() as broker:
        set_broker(broker)
        found = get_result_backend()
        assert isinstance(found, RedisBackend) and found.address == "redis://127.0.0.1:6379/0"
        assert found is get_result_backend()
    with override_settings(DJANGO_TASKS_Q={"RESULTS_URL": "database://default", "NAMESPACE": "shop"}):
        assert get_result_backend().key_of("x") == "shop:results:x"


@pytest.mark.parametrize(
    ("url", "words"),
    [("databse://default", "database"), ("database://nowhere", "nowhere"), ("amqp://x/", "RESULTS_URL begins")],
)
def test_an_address_that_names_nothing_is_refused_in_words(url: str, words: str) -> None:
    with override_settings(DJANGO_TASKS_Q={"RESULTS_URL": url}), pytest.raises(ImproperlyConfigured, match=words):
        get_result_backend()


def test_a_broker_of_the_settings_stores_results_and_a_bare_one_does_not() -> None:
    with pytest.raises(RuntimeError, match="Results"):
        StubBroker().get_results_backend()
    with pytest.raises(ValueError, match="store_results"):
        actor(lambda: 1, broker=StubBroker(), actor_name="work", store_results=True)
    set_broker(None)
    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://"}):
        from django_tasks_q import get_broker

        assert isinstance(get_broker().get_results_backend(), StubBackend)


def test_a_captured_or_immediate_message_has_a_result_too() -> None:
    set_broker(None)
    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://"}):
        work = declare(lambda: 5, actor_name="work")
        with capture():
            message = work.send()
            drain()
            assert message.get_result() == 5
        with immediate():
            assert work.send().get_result() == 5


def test_results_need_no_django() -> None:
    import subprocess
    import sys

    program = """
import sys
from django_tasks_q import Message
from django_tasks_q.results import Results
from django_tasks_q.results.backends import StubBackend
backend = StubBackend()
message = Message("default", "work")
backend.store_result(message, 1)
assert message.get_result(backend=backend, block=True) == 1
assert "django" not in sys.modules and "redis" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=200)
