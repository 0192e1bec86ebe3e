"""drain() runs what waits on the calling thread, as a worker would."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, IntegrityError, connection, connections, transaction

from django_tasks_q import (
    ActorNotFound,
    Middleware,
    QueueNotFound,
    RateLimitExceeded,
    Retry,
    actor,
    get_current_message,
    get_message_id,
    get_retry_count,
    pause_queue,
    pipeline,
    resume_queue,
    revoke,
    set_broker,
)
from django_tasks_q.broker import Broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.middleware import SkipMessage
from django_tasks_q.models import Attempt, MessageRecord, QueuedMessage, QueueWorker, WaitingMessage
from django_tasks_q.testing import DrainLimitReached, MessageFailed, adrain, drain, on_commit
from tests.support.waiting import until
from tests.unit.conftest import running

pytestmark = pytest.mark.django_db(databases=["default", "postgresql", "mariadb"])


def test_what_waits_runs_on_the_calling_thread_in_the_order_of_priority_and_sending(broker: Broker) -> None:
    ran: list[tuple[str, int]] = []
    note = actor(lambda name: ran.append((name, threading.get_ident())), actor_name="note")

    note.send("first")
    note.send("second")
    note.send_with_options(args=("urgent",), priority=-5)
    results = drain()

    here = threading.get_ident()
    assert ran == [("urgent", here), ("first", here), ("second", here)]
    assert [(result.message.args, result.state, result.error) for result in results] == [
        (("urgent",), "succeeded", None),
        (("first",), "succeeded", None),
        (("second",), "succeeded", None),
    ]
    assert drain() == []


def test_what_follows_runs_too(broker: Broker) -> None:
    ran: list[Any] = []

    @actor
    def note(*args: Any) -> None:
        ran.append(args[-1])

    @actor(on_success="note")
    def double(number: int) -> int:
        return 2 * number

    @actor
    def parent() -> None:
        double.send(50)

    pipeline([double.message(3), double.message_with_options()]).run()
    parent.send()
    results = drain()

    assert sorted(ran) == [6, 12, 100]
    assert sorted(result.message.actor_name for result in results) == ["double"] * 3 + ["note"] * 3 + ["parent"]


def test_only_the_queue_that_is_asked_for_is_drained(broker: Broker) -> None:
    ran: list[str] = []
    for name in ("here", "there"):
        actor(lambda name=name: ran.append(name), actor_name=name, queue_name=name).send()

    drain("there")

    assert ran == ["there"]
    assert [count.ready for count in broker.counts() if count.queue_name in ("here", "there")] == [1, 0]


def test_more_queues_than_one_exchange_asks_are_all_drained(broker: Broker) -> None:
    ran: list[int] = []
    for number in range(40):
        actor(lambda number=number: ran.append(number), actor_name=f"a{number}", queue_name=f"q{number}")
    broker.get_actor("a39").send()
    broker.get_actor("a0").send()

    drain()

    assert sorted(ran) == [0, 39]


def test_an_unknown_queue_is_refused(broker: Broker) -> None:
    with pytest.raises(QueueNotFound):
        drain("nowhere")


def test_the_first_error_is_raised_when_everything_has_run(broker: Broker) -> None:
    ran: list[int] = []

    @actor(max_retries=0)
    def work(number: int) -> None:
        ran.append(number)
        if number:
            raise ValueError(f"number {number}")

    messages = [work.send(number) for number in (0, 1, 2)]

    with pytest.raises(ValueError, match="number 1") as caught:
        drain()
    assert ran == [0, 1, 2]
    assert messages[1].message_id in caught.value.__notes__[0]
    assert "1 more failed" in caught.value.__notes__[0]
    assert sum(count.dead for count in broker.counts()) == 2


def test_errors_can_be_had_as_results(broker: Broker) -> None:
    @actor(max_retries=0)
    def break_down() -> None:
        raise ValueError("no")

    break_down.send()
    (result,) = drain(raise_errors=False)

    assert (result.state, type(result.error)) == ("dead", ValueError)
    assert result.outcome.reason == "retries_exhausted"


def test_a_failed_attempt_raises_and_its_retry_waits(broker: Broker) -> None:
    attempts: list[int | None] = []

    @actor(max_retries=3)
    def fail_twice() -> None:
        attempts.append(get_retry_count())
        if len(attempts) < 3:
            raise ValueError("not yet")

    fail_twice.send()
    with pytest.raises(ValueError, match="not yet"):
        drain()
    assert attempts == [0]
    assert drain() == []

    assert [result.state for result in drain(with_delayed=True)] == ["retrying", "succeeded"]
    assert attempts == [0, 1, 2]


def test_with_delayed_only_what_is_dead_in_the_end_raises(broker: Broker) -> None:
    @actor(max_retries=2)
    def break_down() -> None:
        raise ValueError("never")

    break_down.send()
    with pytest.raises(ValueError, match="never"):
        drain(with_delayed=True)
    assert sum(count.dead for count in broker.counts()) == 1


@pytest.mark.parametrize("error", [Retry(delay=60_000), RateLimitExceeded("later")])
def test_asking_for_another_attempt_is_no_failure(broker: Broker, error: Exception) -> None:
    @actor
    def ask() -> None:
        raise error

    ask.send()

    assert [result.state for result in drain()] == ["retrying"]


def test_delayed_messages_wait_unless_waits_are_skipped(broker: Broker) -> None:
    ran: list[str] = []
    note = actor(ran.append, actor_name="note")
    note.send_with_options(args=("in an hour",), delay=3_600_000)
    note.send_with_options(args=("in a minute",), delay=60_000)
    note.send("now")

    drain()
    assert ran == ["now"]

    drain(with_delayed=True)
    assert ran == ["now", "in a minute", "in an hour"]


def test_only_delayed_messages_of_the_queue_are_brought_forward(broker: Broker) -> None:
    ran: list[str] = []
    for name in ("here", "there"):
        actor(lambda name=name: ran.append(name), actor_name=name, queue_name=name).send_with_options(delay=60_000)

    drain("there", with_delayed=True)

    assert ran == ["there"]


def test_sending_oneself_without_end_is_stopped_with_the_culprits_name(broker: Broker) -> None:
    @actor
    def again() -> None:
        again.send()

    again.send()
    with pytest.raises(DrainLimitReached, match=r"5 messages ran .* again 5 times"):
        drain(limit=5)
    (queue,) = [count for count in broker.counts() if count.queue_name == "default"]
    assert (queue.ready, queue.in_flight) == (1, 0)


def test_exactly_the_limit_is_no_error(broker: Broker) -> None:
    note = actor(lambda: None, actor_name="note")
    for _ in range(5):
        note.send()

    assert len(drain(limit=5)) == 5
    with pytest.raises(ValueError, match="at least 1"):
        drain(limit=0)


def test_the_middleware_of_the_broker_is_called_as_in_a_worker(broker: Broker) -> None:
    heard: list[str] = []

    class Listener(Middleware):
        def before_process_message(self, broker: Broker, message: Any) -> None:
            heard.append("before_process")
            if message.args == ("skip",):
                raise SkipMessage("not this one")

        def after_process_message(self, broker: Broker, message: Any, **facts: Any) -> None:
            heard.append("after_process")

        def after_skip_message(self, broker: Broker, message: Any) -> None:
            heard.append("after_skip")

        def before_ack(self, broker: Broker, message: Any) -> None:
            heard.append("before_ack")

        def after_ack(self, broker: Broker, message: Any) -> None:
            heard.append("after_ack")

        def after_nack(self, broker: Broker, message: Any) -> None:
            heard.append("after_nack")

        def after_enqueue(self, broker: Broker, message: Any, delay: int | None) -> None:
            heard.append(f"enqueued {message.actor_name}")

    broker.add_middleware(Listener())
    note = actor(lambda *args: None, actor_name="note")

    @actor(max_retries=0, on_failure=note)
    def work(what: str) -> None:
        if what == "fail":
            raise ValueError(what)

    work.send("run")
    drain()
    assert heard == ["enqueued work", "before_process", "after_process", "before_ack", "after_ack"]

    heard.clear()
    work.send("skip")
    (result,) = drain()
    assert heard == ["enqueued work", "before_process", "after_skip", "before_ack", "after_ack"]
    assert result.state == "skipped"

    heard.clear()
    work.send("fail")
    drain(raise_errors=False)
    assert heard[:5] == ["enqueued work", "before_process", "after_process", "after_nack", "enqueued note"]


def test_the_message_is_known_while_it_runs_and_not_afterwards(broker: Broker) -> None:
    seen: list[Any] = []
    work = actor(lambda: seen.append(get_message_id()), actor_name="work")

    message = work.send()
    drain()

    assert seen == [message.message_id]
    assert get_current_message() is None


def test_enqueueing_the_message_that_runs_is_its_retry(broker: Broker) -> None:
    attempts: list[int | None] = []

    @actor
    def again() -> None:
        attempts.append(get_retry_count())
        if len(attempts) == 1:
            broker.enqueue(get_current_message(), delay=60_000)

    again.send()

    assert [result.state for result in drain(with_delayed=True)] == ["retrying", "succeeded"]
    assert attempts == [0, 1]


def test_an_actor_that_is_not_known_here_is_an_error(broker: Broker) -> None:
    gone = actor(lambda: None, actor_name="gone")
    gone.send()
    del broker.actors["gone"]

    with pytest.raises(ActorNotFound, match="gone"):
        drain()


def test_a_message_that_a_hook_has_rejected_is_an_error(broker: Broker) -> None:
    class Refuse(Middleware):
        def before_process_message(self, broker: Broker, message: Any) -> None:
            message.fail()

    broker.add_middleware(Refuse())
    actor(lambda: None, actor_name="work").send()

    with pytest.raises(MessageFailed, match="rejected"):
        drain()


def test_ctrl_c_ends_the_drain_and_nothing_stays_claimed(broker: Broker) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    work = actor(interrupted, actor_name="work")
    work.send()
    work.send()

    with pytest.raises(KeyboardInterrupt):
        drain(raise_errors=False)
    assert sum(count.in_flight for count in broker.counts()) == 0
    assert sum(count.ready for count in broker.counts()) == 1


def test_an_actor_that_exits_has_failed_and_the_drain_goes_on(broker: Broker) -> None:
    def leave() -> None:
        raise SystemExit(3)

    actor(leave, actor_name="leave", max_retries=0).send()

    (result,) = drain(raise_errors=False)
    assert (result.state, type(result.error)) == ("dead", SystemExit)


# The caller's transaction


def test_the_tests_transaction_stays_open_and_keeps_its_rows(broker: Broker) -> None:
    @actor
    def write(name: str) -> None:
        assert Group.objects.filter(name="the test's").exists()
        Group.objects.create(name=name)

    Group.objects.create(name="the test's")
    write.send("the actor's")
    drain()

    assert connection.in_atomic_block
    assert set(Group.objects.values_list("name", flat=True)) == {"the test's", "the actor's"}


def test_what_a_failed_attempt_has_written_stays_as_it_does_in_a_worker(broker: Broker) -> None:
    @actor(max_retries=0)
    def write_and_fail() -> None:
        Group.objects.create(name="stays")
        raise ValueError("too late")

    write_and_fail.send()
    drain(raise_errors=False)

    assert Group.objects.filter(name="stays").exists()


@pytest.mark.parametrize("alias", ["default", "postgresql", "mariadb"])
def test_a_database_error_in_an_actor_leaves_the_tests_transaction_usable(broker: Broker, alias: str) -> None:
    @actor(max_retries=0)
    def break_it() -> None:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT * FROM there_is_no_such_table")

    @actor(max_retries=0)
    def violate() -> None:
        Group.objects.using(alias).create(name="twice")
        Group.objects.using(alias).create(name="twice")

    Group.objects.using(alias).create(name="before")
    break_it.send()
    violate.send()
    results = drain(raise_errors=False)

    assert [isinstance(result.error, DatabaseError) for result in results] == [True, True]
    assert isinstance(results[1].error, IntegrityError)
    assert Group.objects.using(alias).filter(name="before").exists()


def test_a_transaction_that_an_actor_left_open_is_rolled_back(broker: Broker) -> None:
    @actor
    def leave_open() -> None:
        transaction.atomic().__enter__()
        Group.objects.create(name="never committed")

    depth = len(connection.atomic_blocks)
    leave_open.send()
    drain()

    assert len(connection.atomic_blocks) == depth
    assert not Group.objects.filter(name="never committed").exists()


def test_an_actor_may_ask_for_a_durable_transaction(broker: Broker) -> None:
    @actor
    def durable() -> None:
        with transaction.atomic(durable=True):
            Group.objects.create(name="durable")

    durable.send()
    with transaction.atomic():
        drain()

    assert Group.objects.filter(name="durable").exists()


def test_a_drain_within_nested_blocks_goes_with_them(broker: Broker) -> None:
    write = actor(lambda: Group.objects.create(name="inner") and None, actor_name="write")
    with pytest.raises(ZeroDivisionError), transaction.atomic(), transaction.atomic():
        write.send()
        drain()
        assert Group.objects.filter(name="inner").exists()
        raise ZeroDivisionError

    assert not Group.objects.filter(name="inner").exists()


def test_callbacks_on_commit_of_an_actor_run_after_it(broker: Broker) -> None:
    order: list[str] = []
    after = actor(lambda: order.append("sent on commit"), actor_name="after")

    @actor
    def work() -> None:
        with transaction.atomic():
            transaction.on_commit(lambda: order.append("committed"))
            after.send_on_commit()
        order.append("end of the actor")

    transaction.on_commit(lambda: order.append("the test's own"))
    work.send()
    drain()

    assert order == ["end of the actor", "committed", "sent on commit"]


def test_a_callback_that_was_rolled_back_does_not_run(broker: Broker) -> None:
    order: list[str] = []

    @actor(max_retries=0)
    def work() -> None:
        with transaction.atomic():
            transaction.on_commit(lambda: order.append("committed"))
            raise ValueError("rolled back")

    work.send()
    drain(raise_errors=False)

    assert order == []


def test_an_actor_may_drain_too(broker: Broker) -> None:
    ran: list[str] = []
    inner = actor(lambda: ran.append("inner"), actor_name="inner")

    @actor
    def outer() -> None:
        inner.send()
        drain()
        ran.append("outer")

    outer.send()
    drain()

    assert ran == ["inner", "outer"]


# Async


async def _count() -> int:
    return await Group.objects.acount()


def test_async_actors_see_the_rows_of_the_tests_transaction(broker: Broker) -> None:
    seen: list[Any] = []

    @actor
    async def look() -> None:
        seen.append((await _count(), get_message_id()))
        await Group.objects.acreate(name="from async")

    Group.objects.create(name="from the test")
    message = look.send()
    drain()

    assert seen == [(1, message.message_id)]
    assert Group.objects.count() == 2


def test_async_code_is_told_to_await(broker: Broker) -> None:
    ran: list[str] = []

    @actor
    def sync_work() -> None:
        ran.append(Group.objects.get().name)

    @actor
    async def async_work() -> None:
        ran.append((await Group.objects.aget()).name)

    async def use() -> None:
        await Group.objects.acreate(name="seen")
        await sync_work.asend()
        await async_work.asend()
        with pytest.raises(SynchronousOnlyOperation, match="adrain"):
            drain()
        assert len(await adrain(limit=10)) == 2

    async_to_sync(use)()

    assert ran == ["seen", "seen"]


# The database broker


def test_records_tell_of_a_drain_as_of_a_worker(database_broker: DatabaseBroker) -> None:
    using = database_broker.using

    @actor(max_retries=1)
    def break_down() -> None:
        raise ValueError("no")

    message = break_down.send()
    drain(with_delayed=True, raise_errors=False)

    record = MessageRecord.objects.using(using).get(pk=message.message_id)
    assert (record.state, record.dead_reason, record.retries) == ("dead", "retries_exhausted", 2)
    assert Attempt.objects.using(using).filter(message=record).count() == 2


def test_a_send_that_is_rolled_back_is_not_drained(database_broker: DatabaseBroker) -> None:
    ran: list[str] = []
    note = actor(ran.append, actor_name="note")

    with pytest.raises(ZeroDivisionError), transaction.atomic(using=database_broker.using):
        note.send("never")
        raise ZeroDivisionError
    note.send("now")
    drain()

    assert ran == ["now"]


def test_nothing_is_left_in_the_tables(database_broker: DatabaseBroker) -> None:
    actor(lambda: None, actor_name="note").send()
    before = threading.enumerate()
    drain()

    using = database_broker.using
    for model in (QueuedMessage, QueueWorker, WaitingMessage):
        assert not model._default_manager.using(using).exists()
    assert threading.enumerate() == before


@pytest.mark.django_db(transaction=True, databases=["default", "postgresql", "mariadb"])
@pytest.mark.parametrize("alias", ["default", "postgresql", "mariadb"])
def test_outside_of_transactions_a_drain_commits(alias: str, transactional_db: None) -> None:
    broker = DatabaseBroker(using=alias)
    set_broker(broker)

    @actor
    def write() -> None:
        assert not connections[alias].in_atomic_block
        Group.objects.using(alias).create(name="committed")

    write.send()
    drain()
    connections[alias].close()

    assert Group.objects.using(alias).filter(name="committed").exists()
    assert not QueuedMessage.objects.using(alias).exists()
    assert not QueueWorker.objects.using(alias).exists()


@pytest.mark.django_db(transaction=True, databases=["default", "postgresql", "mariadb"])
def test_a_worker_elsewhere_does_not_get_what_a_drain_has_claimed(transactional_db: None) -> None:
    broker = DatabaseBroker(using="postgresql")
    set_broker(broker)
    ran: list[int] = []
    note = actor(ran.append, actor_name="note")

    with running(broker):
        for number in range(30):
            note.send(number)
        drain()
        until(lambda: len(ran) >= 30, 10)

    assert sorted(ran) == list(range(30))


def test_what_waits_in_rows_for_another_databases_commit_is_published_and_drained(
    database_broker: DatabaseBroker,
) -> None:
    other = "default" if database_broker.using == "postgresql" else "postgresql"
    ran: list[str] = []
    note = actor(lambda name: ran.append(name), actor_name="note")

    with on_commit():
        note.send_on_commit_with_options(args=("a",), using=other)
        assert WaitingMessage.objects.using(other).count() == 1
        assert drain() == []
    assert not WaitingMessage.objects.using(other).exists()
    drain()

    assert ran == ["a"]


def test_revocations_and_pauses_hold_in_a_drain(stub: StubBroker) -> None:
    set_broker(stub)
    ran: list[str] = []

    @actor(broker=stub)
    def work(what: str) -> None:
        ran.append(what)

    work.send_with_options(args=("off",), stamps={"a": 1})
    work.send("on")
    revoke(stamps={"a": 1})
    work.send_with_options(args=("sent later",), stamps={"a": 1})
    pause_queue("default")

    assert drain(broker=stub) == []
    resume_queue("default")

    assert [result.state for result in drain(broker=stub)] == ["succeeded", "revoked"]
    assert ran == ["on"]
